"""Digests of what jobs write, kept beside it: a damaged file is never taken for a whole one.

Beside `manifest.parquet` lies `.manifest.parquet.sha256`, a line a file as `sha256sum` writes and
checks them (`cd FOLDER && sha256sum --check .NAME.sha256`); of a folder, the digests of all its
files. A job notes what it wrote when it has ended well, and looks at what it reads before it
begins. Files that nobody noted, such as those that users bring, are read as they are. Tars are
left out: each image of a shard is compared when it is read (`synthgap.data.shards`).
"""

import errno
import hashlib
import logging
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from synthgap.atomic import write_text
from synthgap.errors import UserError
from synthgap.listing import files_below

log = logging.getLogger("synthgap")

THREADS = 4
_LINE = re.compile("([0-9a-f]{64})  (.+)")
_AT_ONCE = 1 << 20


def note_of(path: Path) -> Path:
    """Return the place of the digests of a file or folder."""
    return path.with_name(f".{path.name}.sha256")


def noted(paths: Iterable[Path]) -> list[Path]:
    """Return the files and folders that have digests: of a tar, rows and facts beside it."""
    found: dict[Path, None] = {}
    for path in paths:
        if path.suffix == ".tar":
            found |= dict.fromkeys([path.with_suffix(".parquet"), path.with_suffix(".json")])
        elif path.name:
            found[path] = None
    return list(found)


def note(paths: Iterable[Path]) -> None:
    """Write the digests of what was written; what is not there has none."""
    for path in noted(paths):
        files = _files(path)
        if not files:
            continue
        with ThreadPoolExecutor(THREADS) as pool:
            digests = pool.map(digest, files)
        names = (file.relative_to(path.parent).as_posix() for file in files)
        lines = (f"{one}  {name}\n" for one, name in zip(digests, names, strict=True))
        write_text(note_of(path), "".join(lines))


def forget(paths: Iterable[Path]) -> None:
    """Remove the digests of what is about to be written anew."""
    for path in noted(paths):
        note_of(path).unlink(missing_ok=True)


def check(paths: Iterable[Path]) -> None:
    """Compare files and folders with their digests, where there are any.

    Raises:
        UserError: one has other bytes than when it was written, or is gone; with its name.
    """
    for path in noted(paths):
        whole, expected = path, _read(path)
        if not expected:  # a folder's own, and what is in it
            whole = path.parent
            expected = {file: told for file, told in _read(whole).items() if _within(file, path)}
        with ThreadPoolExecutor(THREADS) as pool:
            for file, found in zip(expected, pool.map(_found, expected), strict=True):
                if found != expected[file]:
                    raise UserError(damaged(whole, file, found is None))


def intact(path: Path) -> bool:
    """Say whether a file of unfinished work is there, and as it was when `note` was called.

    One that is damaged, or that a kill left without its digest, is removed: it is made again.
    """
    with suppress(UserError):  # a damaged note
        if path.exists() and _read(path) == {path: _found(path)}:
            return True
    if path.exists():
        log.warning("%s is damaged, or was not finished; it is made again", path)
        path.unlink()
    note_of(path).unlink(missing_ok=True)
    return False


def _read(path: Path) -> dict[Path, str]:
    """Return the digests that were noted, by file; none where there is no note.

    Raises:
        UserError, OSError: there is one, and it is damaged or cannot be read. Without it, a damaged
            file would pass for a whole one.
    """
    if not path.name:
        return {}
    try:
        text = note_of(path).read_bytes().decode(errors="replace")
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
            return {}
        raise
    told = [_LINE.fullmatch(line) for line in text.removesuffix("\n").split("\n")]
    if None in told:
        raise UserError(damaged(path, note_of(path)))
    return {path.parent / line[2]: line[1] for line in told if line}


def _within(file: Path, path: Path) -> bool:
    return file == path or path in file.parents


def damaged(path: Path, file: Path, gone: bool = False) -> str:
    """Return what is said of a file, in a folder or alone, that is not as it was written."""
    wrong = "is gone" if gone else "is damaged: it has other bytes than when it was written"
    return f"{file} {wrong}; delete {path} and run snakemake again to make it anew"


def digest(file: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    found = hashlib.sha256()
    with file.open("rb") as content:
        while block := content.read(_AT_ONCE):
            found.update(block)
    return found.hexdigest()


def _found(file: Path) -> str | None:
    try:
        return digest(file)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return [file for file in files_below(path) if file.is_file()]
    return [path] if path.is_file() else []
