"""What is told of an error that ends a command: one line, where the program is not at fault."""

import errno
import os
import sys

from synthgap.errors import UserError

FULL = (errno.ENOSPC, errno.EDQUOT)  # of a disk, or one's share of it
FAILED = (errno.EIO, errno.ESTALE, errno.EREMOTEIO)  # of a disk, or the way to it
# All that Arrow says when a network file system refuses, at last, what was written.
CLOSING = "error closing file"


def in_one_line(error: Exception) -> str | None:
    """Return what to tell the user of an error; None where only a stack trace helps.

    It is one line, and below it, indented, what the message of a `UserError` lists.

    Examples:
        >>> in_one_line(OSError(28, "No space left on device", "a.tar"))
        'no space left on the disk of a.tar; free some and run again'
        >>> in_one_line(KeyError("n"))
    """
    places = "the results or scratch folder"
    if isinstance(error, UserError):
        return _joined(str(error))
    if _says(error, FULL):
        where = getattr(error, "filename", None) or places
        return f"no space left on the disk of {where}; free some and run again"
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    if number := _says(error, FAILED):
        return f"a file of {places}: {os.strerror(number)}"
    if isinstance(error, OSError) and str(error) == CLOSING:
        return f"a file of {places}: {error}; is there room?"
    if isinstance(error, MemoryError):
        return "not enough memory; give the job more, or work in smaller parts"
    if _is_full_device(error):
        told = (str(error).splitlines() or ["no memory"])[0].rstrip(".")
        return f"{told}; take a device with more, or work in smaller parts"
    return None


def _joined(message: str) -> str:
    """Join what libraries say on several lines; lists below a line, which are indented, stay."""
    lines: list[str] = []
    for line in message.splitlines():
        if lines and not line.startswith("  "):
            lines[-1] = f"{lines[-1]} {line}".rstrip()
        else:
            lines.append(line)
    return "\n".join(lines)


def _says(error: BaseException | None, numbers: tuple[int, ...]) -> int | None:
    """Return which number an error of the system, or the one that it came of, has or has in words.

    Libraries that are not written in Python raise errors of their own, with the system's words.
    """
    if error is None:
        return None
    if isinstance(error, OSError) and error.errno in numbers:
        return error.errno
    told = (number for number in numbers if os.strerror(number) in str(error))
    return next(told, None) or _says(error.__cause__, numbers)


def _is_full_device(error: Exception) -> bool:
    """Say whether an error is torch's, of a device without room."""
    if not isinstance(error, RuntimeError) or "torch" not in sys.modules:
        return False
    from synthgap.devices import is_too_large

    return is_too_large(error)
