"""List the real images and assign each to a split, before any of them is read."""

import argparse

import pyarrow as pa
import pyarrow.parquet as pq

from synthgap.atomic import atomic_path
from synthgap.data.real import open_dataset, split_dataset
from synthgap.job import command, json_object, log, output_path, run


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--dataset", type=json_object, required=True, help="config's `real`")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--index", type=output_path, required=True, help="a row an image (parquet)")
    return parser


def main(args: argparse.Namespace) -> None:
    real = args.dataset
    dataset = open_dataset(real["dataset"], real["folder"], real["class_names"])
    entries = list(dataset.entries())
    rows = split_dataset(entries, args.seed, real["val_fraction"], real["test_fraction"])
    with atomic_path(args.index) as part:
        pq.write_table(pa.Table.from_pylist(rows), part)
    for split in ("train", "val", "test"):
        log.info("%s: %d images", split, sum(row["split"] == split for row in rows))


if __name__ == "__main__":
    run(options(), main)
