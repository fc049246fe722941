"""Classes of data sets that belong together: the same names in the same order."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from synthgap.data.shards import Manifest
from synthgap.errors import UserError


def require_same_classes(
    path: Path, classes: Sequence[str], other: Path, others: Sequence[str]
) -> None:
    """Check that two files speak of the same classes.

    Raises:
        UserError: one lacks a class of the other, or the order differs; names the first such class.
    """
    for lacking, known, here, there in (
        (classes, others, path, other),
        (others, classes, other, path),
    ):
        if missing := [name for name in known if name not in lacking]:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise UserError(
                f"{here} has no class {missing[0]}{more} and {there} has; both need the same "
                f"classes (there are {len(lacking)} here and {len(known)} there)"
            )
    for index, (name, expected) in enumerate(zip(classes, others, strict=False)):
        if name != expected:
            raise UserError(
                f"the order of classes differs: number {index} is {name} in {path} and {expected} "
                f"in {other}; make both from one list of classes"
            )


def require_images(manifest: Manifest, least: int) -> None:
    """Check that each class of a manifest has `least` images.

    Raises:
        UserError: names the first class that has fewer.
    """
    counts = np.bincount(manifest.class_indices, minlength=len(manifest.classes))
    few = np.flatnonzero(counts < least)
    if len(few):
        more = f" ({len(few) - 1} other classes have too few, too)" if len(few) > 1 else ""
        raise UserError(
            f"{manifest.path}: class {manifest.classes[few[0]]} has {counts[few[0]]} images, and "
            f"{least} are needed{more}"
        )
