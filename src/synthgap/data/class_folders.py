"""The files of a folder that has one folder a class. Light, as the Snakefile may count them."""

from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from synthgap.data.class_tables import HELP, Classes, read_class_table
from synthgap.errors import UserError, shown
from synthgap.listing import files_below, folders_in

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def list_images(folder: Path, classes: Classes, option: str) -> Iterator[tuple[str, str]]:
    """Yield path, relative to the folder, and class name of each image, by class and path.

    Classes come in the order of the class table, or of their folders' names without one.

    Args:
        option: that names the folder, for errors.

    Raises:
        UserError: no such folder, one that cannot be read, no class in it, a class without images,
            or a class of the table or of the names that has no folder.
    """
    hint = f"; {HELP}" if classes.are_synsets else ""
    if not folder.is_dir():
        raise UserError(f"{option}: no folder {folder}; it holds one folder a class{hint}")
    folders = [one for one in folders_in(folder) if one.name[0] != "."]
    if not folders:
        raise UserError(
            f"{option}: {folder} has no classes; it needs one folder a class with "
            f"JPEG, PNG or WebP files{hint}"
        )
    for one in folders:
        _require_text(one.name, folder, option)
    where = f"{option}: {folder}" if classes.table else str(folder)
    for label, class_name in classes.of((p.name for p in folders), where).items():
        class_folder = folder / label
        files = [p for p in files_below(class_folder) if p.suffix.lower() in IMAGE_SUFFIXES]
        if not files:
            raise UserError(f"{option}: class {class_folder} has no JPEG, PNG or WebP file")
        for file in files:
            name = file.relative_to(folder).as_posix()
            _require_text(name, folder, option)
            yield name, class_name


def _require_text(name: str, folder: Path, option: str) -> None:
    """Refuse a name in another encoding: no table could hold it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UserError(
            f"{option}: the name {shown(name)} in {folder} is not UTF-8; rename it (convmv does "
            "many at once)"
        ) from None


@cache
def count_images(
    folder: str, class_table: str | None, class_names: tuple[tuple[str, str], ...], option: str
) -> dict[str, int]:
    """Return the number of images by class name, counted once in a process.

    Raises:
        UserError: see `list_images`.
    """
    table = read_class_table(class_table) if class_table else None
    found = list_images(Path(folder), Classes(table, dict(class_names)), option)
    return dict(Counter(class_name for _, class_name in found))
