"""The one exception that a user's mistake raises, and the hint that goes with it."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Bad input from the user: a file, a config key or an option.

    The message is one sentence or two that name the file or key, say what is wrong and what
    would be right. Commands print it without a stack trace and exit with status 1.
    """


def suggest(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean `x`?" for a close match, or else "; known: ..." for a message.

    Examples:
        >>> suggest("lowpass", ["low_pass", "depth"])
        '; did you mean `low_pass`?'
    """
    names = [str(name) for name in known]
    close = difflib.get_close_matches(word, names, 1)
    if close:
        return f"; did you mean `{close[0]}`?"
    return f"; known: {', '.join(names)}" if names else ""


def shown(name: str) -> str:
    """Return a name that others chose as it can stand in one line, what does not print escaped."""
    return name if name.isprintable() else name.encode("unicode_escape").decode()


class PeersLostError(UserError):
    """Another of several processes ended; what went wrong is told there."""

    status = 4  # by which the launcher knows that this process was not the first
