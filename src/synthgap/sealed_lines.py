"""Lines of unfinished work, each behind its own digest: a damaged one is done again, not used.

Standard library and Python 3.9 only.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger("synthgap")

_DIGITS = 32  # of a SHA-256 in hexadecimal: half of it, as lines are many and short
CONTENT_AT = _DIGITS + 1  # the place of the content in a line


def seal(content: bytes) -> bytes:
    """Return a line: the digest of its content, a tab, the content and a newline.

    Raises:
        ValueError: the content has a newline.

    Examples:
        >>> opened(seal(b'{"score": 0.5}'))
        b'{"score": 0.5}'
        >>> opened(seal(b'{"score": 0.5}').replace(b"5", b"7"))
    """
    if b"\n" in content:
        raise ValueError("a line has no newline within")
    return _digest(content) + b"\t" + content + b"\n"


def opened(line: bytes) -> bytes | None:
    """Return the content of a line, or None where it is torn or damaged."""
    content = line[CONTENT_AT:-1]
    return content if line == _digest(content) + b"\t" + content + b"\n" else None


def read(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield place in bytes and content of each line of a file; of one that is not there, none.

    What is damaged is left out with a warning. The torn end of a file is taken away, so that what
    is appended next begins a line of its own.
    """
    if not path.exists():
        return
    with path.open("rb+") as file:
        place = 0
        for line in file:
            content = opened(line)
            if content is not None:
                yield place, content
            elif line.endswith(b"\n"):
                log.warning("%s: a damaged line at byte %d is done again", path, place)
            else:
                file.truncate(place)
                return
            place += len(line)


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest()[:_DIGITS].encode()
