"""Which images a generative model learns from: so many real ones, so many of other sources."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from synthgap.atomic import atomic_path
from synthgap.data.classes import require_same_classes
from synthgap.data.selection import relocated
from synthgap.data.shards import Manifest
from synthgap.errors import UserError
from synthgap.seeds import derive_seed

# What of a row a manifest does not say.
SOURCE, LABEL = "source", "source_label"


@dataclass(frozen=True)
class Wanted:
    """Images that are taken of a source.

    Attributes:
        images: in all; None: all there are.
        classes: of these class indices; None: of all.
    """

    source: str
    manifest: Manifest
    images: int | None = None
    classes: Sequence[int] | None = None


def choose(wanted: Wanted, seed: int) -> NDArray[np.int64]:
    """Return rows of a manifest, in its order: as many of each class as can be, drawn by the seed.

    Fewer images are among more of the same classes.

    Raises:
        UserError: a class that is not there, or fewer images than are wanted.
    """
    manifest, known = wanted.manifest, len(wanted.manifest.classes)
    classes = sorted(wanted.classes if wanted.classes is not None else range(known))
    if classes[-1] >= known:
        raise UserError(f"{manifest.path}: there is no class {classes[-1]}; it has {known}")
    drawn: list[tuple[int, int, int]] = []
    for index in classes:
        members = np.flatnonzero(manifest.class_indices == index)
        rng = np.random.default_rng(derive_seed(seed, "choice", wanted.source, index))
        drawn += [(rank, index, int(row)) for rank, row in enumerate(rng.permutation(members))]
    count = len(drawn) if wanted.images is None else wanted.images
    if count > len(drawn):
        raise UserError(
            f"{manifest.path}: {count} images of {wanted.source} are asked for, and there are "
            f"{len(drawn)}; ask for fewer or make more"
        )
    return np.sort([row for _, _, row in sorted(drawn)[:count]])


def write_choice(path: Path, parts: Sequence[Wanted], seed: int) -> int:
    """Write the chosen rows of several sources as a manifest, and return how many there are.

    Besides a manifest's columns it has `source` and `source_label`, 0 for the first and so on; its
    keys begin with the label, as sources may have keys in common.

    Raises:
        UserError: see `choose`; or sources whose classes differ.
    """
    first, tables = parts[0].manifest, []
    for label, part in enumerate(parts):
        manifest = part.manifest
        require_same_classes(manifest.path, manifest.classes, first.path, first.classes)
        table = relocated(manifest, choose(part, seed), path.parent)
        keys = pa.array([f"{label}-{key}" for key in table["key"].to_pylist()])
        table = table.set_column(table.schema.get_field_index("key"), "key", keys)
        table = table.append_column(SOURCE, pa.array([part.source] * len(table)))
        tables.append(table.append_column(LABEL, pa.array([label] * len(table), pa.int32())))
    chosen = pa.concat_tables(tables)
    metadata = {"classes": json.dumps(first.classes)}
    with atomic_path(path) as part_file:
        pq.write_table(chosen.replace_schema_metadata(metadata), part_file)
    return len(chosen)


def labels(chosen: Manifest) -> NDArray[np.int64]:
    """Return the source labels (n,) of what `write_choice` wrote.

    Raises:
        UserError: it has none.
    """
    if LABEL not in chosen.table.column_names:
        raise UserError(f"{chosen.path} has no column {LABEL}; choose_images makes such a file")
    return np.asarray(chosen.table[LABEL].to_numpy(), np.int64)


def real_keys(chosen: Path) -> list[str]:
    """Return the keys that the real images among those chosen have in their shards."""
    table = pq.read_table(chosen, columns=["key", LABEL])
    pairs = zip(table["key"].to_pylist(), table[LABEL].to_pylist(), strict=True)
    return [key.partition("-")[2] for key, label in pairs if label == 0]
