"""The files of a folder: all of them, or an error."""

import os
from collections.abc import Iterator
from pathlib import Path

from synthgap.errors import UserError


def files_below(folder: Path) -> list[Path]:
    """Return the files in a folder and below, sorted; links to folders are not followed.

    `Path.rglob` leaves out, without a word, what is in folders that may not be read.

    Raises:
        UserError: a folder cannot be read; with its name.
    """
    found = (Path(place, name) for place, _, names in _walk(folder) for name in names)
    return sorted(found)


def folders_in(folder: Path) -> list[Path]:
    """Return the folders in a folder, and links to folders, sorted.

    Raises:
        UserError: it cannot be read.
    """
    place, names, _ = next(_walk(folder))
    return sorted(Path(place, name) for name in names)


def _walk(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    def tell(error: OSError) -> None:
        raise UserError(f"{error.filename} cannot be read: {error.strerror}") from error

    return os.walk(folder, onerror=tell)
