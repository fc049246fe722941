"""Rows of manifests: chosen by image, and moved to another folder."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synthgap.data.shards import Manifest, image_of


class Images:
    """The images that a manifest's rows show, each whole or in several crops."""

    def __init__(self, manifest: Manifest) -> None:
        samples = manifest.table.select(["key", "details"]).to_pylist()
        named = [image_of(**sample) for sample in samples]
        self.keys, self._of = np.unique(named, return_inverse=True)
        self.class_indices = np.zeros(len(self.keys), np.int64)
        self.class_indices[self._of] = manifest.class_indices

    def of_class(self, class_index: int) -> NDArray[np.int64]:
        """Return the numbers of a class's images, in the order of their keys."""
        return np.flatnonzero(self.class_indices == class_index)

    def counts(self, classes: int) -> NDArray[np.int64]:
        """Return how many images each of so many classes has, (classes,)."""
        return np.bincount(self.class_indices, minlength=classes)

    def any_row(self, rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return for each image whether one of its rows is among some, both as flags."""
        return np.bincount(self._of, weights=rows, minlength=len(self.keys)) > 0

    def rows(self, chosen: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows that show some images, in the manifest's order."""
        taken = np.zeros(len(self.keys), bool)
        taken[np.asarray(chosen, np.int64)] = True
        return np.flatnonzero(taken[self._of])


def relocated(manifest: Manifest, rows: Sequence[int] | NDArray[Any], folder: Path) -> pa.Table:
    """Return rows of a manifest, with paths of shards relative to another folder."""
    table = manifest.table.take(rows).replace_schema_metadata(None)
    shards = {
        shard: os.path.relpath(manifest.path.parent / shard, folder)
        for shard in pc.unique(table["shard"]).to_pylist()
    }
    column = pa.array([shards[shard] for shard in table["shard"].to_pylist()], pa.string())
    return table.set_column(table.schema.get_field_index("shard"), "shard", column)
