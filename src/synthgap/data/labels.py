"""Which images' labels a training may use."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synthgap.data.selection import Images
from synthgap.data.shards import Manifest
from synthgap.errors import UserError
from synthgap.seeds import derive_seed


class FewLabels(NamedTuple):
    """Which of a manifest's samples are seen with their label, and which without: (n,) bool."""

    labelled: NDArray[np.bool_]
    unlabelled: NDArray[np.bool_]
    classes: int


def few_labels(manifest: Manifest, of_each_class: int, seed: int) -> FewLabels:
    """Draw by the seed some images of each class whose labels are used.

    All are seen without their labels, too, except for those that came with theirs
    (`Manifest.given_labels`), which keep it and are not drawn. Fewer labels are among more; crops
    of an image are drawn together.

    Raises:
        UserError: a class has fewer images.
    """
    images, given = Images(manifest), manifest.given_labels
    known = images.any_row(given)
    chosen: list[int] = []
    for class_index, name in enumerate(manifest.classes):
        members = images.of_class(class_index)
        members = members[~known[members]]
        if len(members) < of_each_class:
            raise UserError(
                f"{manifest.path}: class {name} has {len(members)} images, and labels of "
                f"{of_each_class} are wanted; lower the recipe's labels_per_class"
            )
        rng = np.random.default_rng(derive_seed(seed, "labels", class_index))
        chosen += rng.permutation(members)[:of_each_class].tolist()
    labelled = given.copy()
    labelled[images.rows(chosen)] = True
    return FewLabels(labelled, ~given, len(manifest.classes))
