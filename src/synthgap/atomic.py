"""Files that appear whole or not at all."""

import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger("synthgap")

_DIGEST_BYTES = hashlib.sha256().digest_size


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; on success flush it to disk and rename it.

    After an error the partial file is removed; after SIGKILL it stays as `.NAME.part`, which
    nothing reads and the next attempt overwrites.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     with atomic_path(Path(folder) / "whole.txt") as part:
        ...         _ = part.write_text("all of it")
        ...         before = (Path(folder) / "whole.txt").exists()
        ...     before, (Path(folder) / "whole.txt").read_text()
        (False, 'all of it')
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    # The rename itself must survive a power cut too.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically."""
    with atomic_path(path) as part:
        part.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write `content` to `path` atomically, as UTF-8."""
    write_bytes(path, content.encode())


def write_sealed(path: Path, content: bytes) -> None:
    """Write unfinished work atomically, behind its own digest; `read_sealed` reads it."""
    write_bytes(path, hashlib.sha256(content).digest() + content)


def read_sealed(path: Path) -> bytes | None:
    """Return what `write_sealed` wrote, or None where there is nothing, or something damaged.

    Unfinished work that is damaged is removed, so that it is done again.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    if hashlib.sha256(content[_DIGEST_BYTES:]).digest() != content[:_DIGEST_BYTES]:
        log.warning("%s is damaged; what it holds is done again", path)
        path.unlink()
        return None
    return content[_DIGEST_BYTES:]
