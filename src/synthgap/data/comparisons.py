"""Several sources as one data set whose classes are the sources (paper C, section 3)."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from synthgap.data.classes import require_same_classes
from synthgap.data.selection import Images, relocated
from synthgap.data.shards import Manifest, image_of
from synthgap.errors import UserError
from synthgap.seeds import derive_seed

HALVES = ["first half", "second half"]


def compare(
    sources: Sequence[tuple[str, Manifest]],
    images_per_class: int,
    seed: int,
    folder: Path,
    *,
    at_most: bool = False,
) -> tuple[pa.Table, list[str]]:
    """Return manifest rows whose class is the source, and the names of these classes.

    Every original class gives as many images to each source, drawn by `seed` and the source's
    place in its class alone: the same images in every view and in every comparison, and fewer are
    among the more. Crops of an image stay together.

    Args:
        sources: name and manifest. The same name twice is the control: two disjoint halves.
        images_per_class: that are drawn of each original class and source.
        folder: where the manifest will lie; paths of shards become relative to it.
        at_most: where a source has fewer of a class, take so many of that class from each.

    Raises:
        UserError: a class has too few images, or none, or the sources' classes differ.
    """
    names = [name for name, _ in sources]
    first = sources[0][1]
    for _, manifest in sources:
        require_same_classes(manifest.path, manifest.classes, first.path, first.classes)
    images = {id(manifest): Images(manifest) for _, manifest in sources}
    each = np.full(len(first.classes), images_per_class)
    for name, manifest in sources:
        copies, least = names.count(name), 1 if at_most else images_per_class
        there = images[id(manifest)].counts(len(each))
        if len(few := np.flatnonzero(there < copies * least)):
            raise UserError(
                f"{manifest.path}: class {manifest.classes[few[0]]} has {there[few[0]]} images, "
                f"and comparing {' with '.join(names)} takes {copies * least}; lower "
                "studies.distinguish.images_per_class"
            )
        each = np.minimum(each, there // copies)
    tables = []
    for label, (name, manifest) in enumerate(sources):
        copies, place = names.count(name), names[:label].count(name)
        chosen = list[int]()
        for class_index, number in enumerate(each):
            members = images[id(manifest)].of_class(class_index)
            rng = np.random.default_rng(derive_seed(seed, "compare", class_index))
            drawn = rng.permutation(members)[: copies * number]
            chosen += drawn[place::copies].tolist()
        rows = relocated(manifest, images[id(manifest)].rows(chosen), folder)
        tables.append(_relabelled(rows, label, name))
    control = len(set(names)) == 1
    return pa.concat_tables(tables), HALVES[: len(names)] if control else names


def require_apart(splits: Mapping[str, pa.Table], sources: Sequence[str]) -> None:
    """Check that a real image and what was made from its caption are in one split.

    Otherwise a classifier could know a test image's content from training, on one side alone.

    Args:
        splits: rows of `compare`, by split.
        sources: that were compared, in their order.

    Raises:
        UserError: two splits share a real image; names it and both.
    """
    seen: dict[str, str] = {}
    for split, rows in splits.items():
        for image in _real_images(rows, sources):
            if (other := seen.setdefault(image, split)) != split:
                raise UserError(
                    f"comparing {' with '.join(sources)}: real image {image} or what was generated "
                    f"from its caption is in the splits {other} and {split}; make the prompts of "
                    "each split from captions of its own real images"
                )


def _real_images(rows: pa.Table, sources: Sequence[str]) -> set[str]:
    """The keys of all real images that rows show, or that they were generated after."""
    found = set()
    for row in rows.select(["key", "class_index", "details"]).to_pylist():
        details = json.loads(row["details"])
        if "captioned" in details:
            found.add(str(details["captioned"]))
        elif sources[row["class_index"]] == "real":
            found.add(image_of(row["key"], row["details"]).partition("-")[2])
    return found


def _relabelled(table: pa.Table, label: int, name: str) -> pa.Table:
    """Give rows their source as class, and keys that tell it."""
    new = {
        "key": pa.array([f"{label}-{key}" for key in table["key"].to_pylist()]),
        "class_index": pa.array([label] * len(table), pa.int32()),
        "class_name": pa.array([name] * len(table)),
    }
    for column, values in new.items():
        table = table.set_column(table.schema.get_field_index(column), column, values)
    return table
