"""Two sources as one two-class data set, for distribution classification (paper C)."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa

from synthgap.data.shards import Manifest
from synthgap.errors import UserError
from synthgap.seeds import derive_seed


def pair(
    first: Manifest,
    second: Manifest,
    names: tuple[str, str],
    images_per_class: int,
    seed: int,
    folder: Path,
) -> tuple[pa.Table, list[str]]:
    """Return manifest rows whose class is the source, and the two classes' names.

    Every original class gives `images_per_class` images on either side, drawn by `seed`. Where
    both manifests are the same, the two sides are disjoint: the control.

    Args:
        folder: where the manifest will lie; paths of shards become relative to it.

    Raises:
        UserError: a class has too few images.
    """
    control = first.path == second.path
    wanted = images_per_class * (2 if control else 1)
    sides = []
    for side, manifest in enumerate((first, second)):
        chosen: list[int] = []
        for class_index in np.unique(manifest.class_indices):
            members = np.flatnonzero(manifest.class_indices == class_index)
            if len(members) < wanted:
                name = manifest.classes[class_index]
                raise UserError(
                    f"{manifest.path}: class {name} has {len(members)} images and the pair needs "
                    f"{wanted}; lower studies.distinguish.images_per_class"
                )
            # The same draw for both sides, so that the control's halves do not overlap.
            rng = np.random.default_rng(derive_seed(seed, "pair", int(class_index)))
            drawn = rng.permutation(members)[:wanted]
            chosen += (drawn[side::2] if control else drawn).tolist()
        sides.append(_relabel(manifest, sorted(chosen), side, names[side], folder))
    labels = ["first half", "second half"] if control else list(names)
    return pa.concat_tables(sides), labels


def _relabel(manifest: Manifest, rows: list[int], label: int, name: str, folder: Path) -> pa.Table:
    """Take `rows` of a manifest with the source as their class, and keys that tell it."""
    table = manifest.table.take(rows)
    shards = [
        os.path.relpath(manifest.path.parent / shard, folder)
        for shard in table["shard"].to_pylist()
    ]
    new = {
        "key": pa.array([f"{label}-{key}" for key in table["key"].to_pylist()]),
        "class_index": pa.array([label] * len(rows), pa.int32()),
        "class_name": pa.array([name] * len(rows)),
        "shard": pa.array(shards),
    }
    for column, values in new.items():
        table = table.set_column(table.schema.get_field_index(column), column, values)
    return table.replace_schema_metadata(None)
