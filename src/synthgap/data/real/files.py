"""What data sets in large files have in common: which files, and integers as labels."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from synthgap.data.class_tables import Classes, is_synset
from synthgap.errors import UserError
from synthgap.late_compiler import late_compiler


def folder_of(pattern: str) -> Path:
    """Return the folder that all files of a folder or pattern lie in."""
    path = Path(pattern)
    return path if path.is_dir() else path.parent


def matching(pattern: str, suffix: str, option: str) -> list[Path]:
    """Return the files of a folder, or of a folder and a pattern, sorted by name.

    Raises:
        UserError: there is none.
    """
    path = Path(pattern)
    found = path.glob(f"*{suffix}") if path.is_dir() else path.parent.glob(path.name)
    files = sorted(file for file in found if file.is_file())
    if not files:
        raise UserError(
            f"{option}: no file {pattern}{f'/*{suffix}' if path.is_dir() else ''}; name a folder "
            f"of {suffix} files, or some by a pattern such as data/train-*{suffix}"
        )
    return files


def require_apart(folder: str, test_folder: str, suffix: str | None) -> None:
    """Refuse test images that are trained on.

    Args:
        suffix: of files that may be named by a pattern; None for folders of images.

    Raises:
        UserError: both name one file or folder, or there are no such files.
    """
    places = {"real.folder": folder, "real.test_folder": test_folder}
    if suffix is None:
        one, other = (Path(place).resolve() for place in places.values())
        shared = {one} & {other}
    else:
        one_files, other_files = (
            {file.resolve() for file in matching(place, suffix, option)}
            for option, place in places.items()
        )
        shared = one_files & other_files
    if shared:
        raise UserError(
            f"real.test_folder: {sorted(shared)[0].name} belongs to real.folder as well, so test "
            "images would be trained on; "
            + ("use another folder" if suffix is None else f"use patterns: train-*{suffix}")
        )


def names_of(
    labels: Iterable[int], classes: Classes, where: str, own: Sequence[str] | None = None
) -> dict[int, str]:
    """Return the names of the classes to take by their integer label, in order.

    Args:
        labels: those that the data set has, in any order.
        own: the data set's own names by label.

    Raises:
        UserError: a label that has no name, two that have one, or see `Classes.of`.
    """
    present = sorted(set(labels))
    if classes.are_synsets and not (own and all(map(is_synset, own))):
        synsets = imagenet_synsets()
        if own is not None and len(own) != len(synsets):
            raise UserError(
                f"{where}: its {len(own)} labels are not those of ImageNet-1k, so the synsets of "
                f"real.class_table say nothing of them; use a table of its names ({own[0]}, ...)"
            )
        own = synsets
    if own is not None and (present[0] < 0 or present[-1] >= len(own)):
        wrong = present[-1] if present[-1] >= len(own) else present[0]
        raise UserError(f"{where}: label {wrong}, and there are names for 0 to {len(own) - 1}")
    named = [own[number] if own else str(number) for number in present]
    [(name, times)] = Counter(named).most_common(1)
    if times > 1:
        raise UserError(
            f"{where}: {times} labels are called {name}; tell ImageNet's classes apart by a "
            "real.class_table of synsets"
        )
    label_of = dict(zip(named, present, strict=True))
    return {label_of[label]: name for label, name in classes.of(label_of, where).items()}


def imagenet_synsets() -> list[str]:
    """WordNet's numbers of ImageNet-1k's classes, in the order of their labels."""
    with late_compiler():
        from timm.data import ImageNetInfo

    found: list[str] = ImageNetInfo("imagenet1k").label_names()
    return found
