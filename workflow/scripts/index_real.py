"""List the real images and assign each to a split, before any of them is read."""

import argparse
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from synthgap.atomic import atomic_path
from synthgap.data.real import open_dataset, split_dataset
from synthgap.data.real.splits import read_index
from synthgap.errors import UserError
from synthgap.job import command, input_path, json_object, log, output_path, run


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--dataset", type=json_object, required=True, help="config's `real`")
    parser.add_argument("--like", type=input_path, help="index whose classes these images have")
    parser.add_argument("--section", default="real", help="of the config, for messages")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--index", type=output_path, required=True, help="a row an image (parquet)")
    return parser


def main(args: argparse.Namespace) -> None:
    real = args.dataset
    dataset = open_dataset(real, args.section)
    entries = dataset.entries()
    if args.like:
        entries = in_order_of(args.like, entries, args.section)
    rows = split_dataset(
        entries,
        args.seed,
        real["val_fraction"],
        real["test_fraction"],
        tests=dataset.test_entries(),
        images_per_class=real.get("images_per_class"),
        section=args.section,
    )
    with atomic_path(args.index) as part:
        pq.write_table(pa.Table.from_pylist(rows), part)
    for split in ("train", "val", "test"):
        log.info("%s: %d images", split, sum(row["split"] == split for row in rows))


def in_order_of(index: Path, entries: list[tuple[str, str]], section: str) -> list[tuple[str, str]]:
    """Return names and classes of images, the classes in the order of another index."""
    told = read_index(index, ["class_index", "class_name"]).to_pylist()
    order = {row["class_name"]: row["class_index"] for row in told}
    found = {class_name for _, class_name in entries}
    for missing, there, here in (
        (order.keys() - found, "the real images have", section),
        (found - order.keys(), f"{section} has", "the real images"),
    ):
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise UserError(
                f"{section}.folder: {there} the class {min(missing)}{more}, and {here} not; both "
                "need the same classes, in folders of the same names"
            )
    return sorted(entries, key=lambda entry: order[entry[1]])


if __name__ == "__main__":
    run(options(), main)
