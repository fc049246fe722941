"""Which real image is trained on, validated on and tested on."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from synthgap.data.parquet_tables import part_of, read_table
from synthgap.errors import UserError
from synthgap.seeds import derive_seed

INDEX_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("name", pa.string()),
        ("class_index", pa.int64()),
        ("class_name", pa.string()),
        ("split", pa.string()),
        ("seed", pa.int64()),
    ]
)


def read_index(path: Path, columns: Iterable[str], split: str | None = None) -> pa.Table:
    """Return columns of the list of real images, of one split alone or of all.

    Raises:
        UserError: the file is damaged, or was not written by `index_real`.
    """
    columns = list(columns)
    schema = part_of(INDEX_SCHEMA, [*columns, *({"split"} - {*columns} if split else ())])
    table = read_table(path, schema, "index_real")
    return table if split is None else table.filter(pc.equal(table["split"], split))


def split_dataset(
    entries: Iterable[tuple[str, str]],
    seed: int,
    val_fraction: float,
    test_fraction: float,
    *,
    tests: Iterable[tuple[str, str]] | None = None,
    images_per_class: Mapping[str, int] | None = None,
    section: str = "real",
) -> list[dict[str, Any]]:
    """Assign each image to a split, stratified by class.

    Within a class, images are ordered by a hash of (seed, name), so adding images to a folder
    moves few of the others. Within a split, rows come interleaved over the classes: the first
    ones hold every class evenly, as long as each has images left.

    Args:
        entries: name and class of each image.
        val_fraction, test_fraction: shares of each class.
        tests: where test images are a set of their own; none of `entries` is one then.
        images_per_class: so many of each class by split, instead of shares; the rest is left out.
        section: of the config, for messages: `real`, or an image set's.

    Returns:
        Rows with key, name, class_index, class_name, split and seed (for views that draw); class
        indices follow the order in which class names first appear.

    Raises:
        UserError: a class with too few images, or one that only `entries` or only `tests` has.
    """
    training, testing = _by_class(entries), _by_class(tests or ())
    if tests is not None:
        _require_same(training, testing)
    rows: list[dict[str, Any]] = []
    ranks: list[int] = []  # of a row among those of its class and split
    for class_index, (class_name, names) in enumerate(training.items()):
        shuffled = _shuffled(names, seed)
        wanted = dict(images_per_class or {})
        if not images_per_class:
            wanted["val"] = max(1, round(len(names) * val_fraction))
            wanted["test"] = max(1, round(len(names) * test_fraction))
            if tests is not None:
                wanted["test"] = len(testing[class_name])
            own_tests = 0 if tests is not None else wanted["test"]
            wanted["train"] = len(names) - wanted["val"] - own_tests
            if wanted["train"] < 1:
                needed = "a training, a validation and a test image"
                if tests is not None:
                    needed = "a training and a validation image"
                raise UserError(
                    f"class {class_name} has {len(names)} images, too few for {needed}; add images "
                    "or lower the fractions"
                )
        # Test and validation images first, so that a larger training set moves none of them.
        places = [("val", shuffled), ("train", shuffled)]
        if tests is None:
            places.insert(0, ("test", shuffled))
        else:
            places.append(("test", _shuffled(testing[class_name], seed)))
        used = 0
        for split, source in places:
            first = used if source is shuffled else 0
            chosen = source[first : first + wanted[split]]
            if len(chosen) < wanted[split]:
                total = sum(wanted[name] for name, of in places if of is source)
                what = "test images" if source is not shuffled else "images"
                asks = "real.images_per_class"
                if section != "real":
                    asks = f"synthetic.samples_per_class, of {section},"
                raise UserError(
                    f"class {class_name} has {len(source)} {what}, and {asks} asks "
                    f"for {total}; lower it or add images"
                )
            used += len(chosen) if source is shuffled else 0
            for rank, name in enumerate(chosen):
                own = "" if source is shuffled else "t"
                ranks.append(rank)
                rows.append(
                    {
                        "key": f"{class_index:04d}-{own}{first + rank:06d}",
                        "name": name,
                        "class_index": class_index,
                        "class_name": class_name,
                        "split": split,
                        "seed": derive_seed(seed, "real", class_name, name),
                    }
                )
    order = sorted(range(len(rows)), key=lambda i: (ranks[i], rows[i]["class_index"]))
    return [rows[i] for i in order]


def _by_class(entries: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, class_name in entries:
        found.setdefault(class_name, []).append(name)
    return found


def _shuffled(names: list[str], seed: int) -> list[str]:
    return sorted(names, key=lambda n: hashlib.sha256(f"{seed}/{n}".encode()).digest())


def _require_same(training: Mapping[str, Any], testing: Mapping[str, Any]) -> None:
    for here, there, lacking in (
        (training, testing, "real.test_folder"),
        (testing, training, "real.folder"),
    ):
        if missing := [name for name in here if name not in there]:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise UserError(
                f"{lacking} has no images of class {missing[0]}{more}, and the other folder has; "
                "both need the same classes"
            )
