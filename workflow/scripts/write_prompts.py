"""Write the prompts of one synthetic source and split: a row, with its seed, for each image."""

import argparse
import json

import pyarrow as pa
import pyarrow.parquet as pq

from synthgap.atomic import atomic_path
from synthgap.data.captions import read_captions
from synthgap.data.real.splits import read_index
from synthgap.job import command, input_path, log, output_path, run
from synthgap.prompts import ASKED, make_prompts


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--kind", choices=ASKED, required=True)
    parser.add_argument("--index", type=input_path, required=True, help="from index_real")
    parser.add_argument("--captions", type=input_path, nargs="*", default=[], help="of real images")
    parser.add_argument("--source", required=True, help="enters the seeds")
    parser.add_argument("--split", choices=["train", "val", "test"], required=True)
    parser.add_argument("--samples-per-class", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True, help="the study's")
    parser.add_argument("--prompts", type=output_path, required=True)
    return parser


def main(args: argparse.Namespace) -> None:
    index = read_index(args.index, ["class_index", "class_name"]).to_pylist()
    classes = [name for _, name in sorted({(r["class_index"], r["class_name"]) for r in index})]
    captions: dict[int, list[tuple[str, str]]] = {}
    for row in read_captions(args.captions):
        captions.setdefault(row["class_index"], []).append((row["key"], row["caption"]))
    rows = make_prompts(
        args.kind,
        classes,
        captions,
        source=args.source,
        split=args.split,
        samples_per_class=args.samples_per_class,
        seed=args.seed,
    )
    table = pa.Table.from_pylist(
        [row | {"details": json.dumps(row["details"], sort_keys=True)} for row in rows]
    )
    with atomic_path(args.prompts) as part:
        pq.write_table(table, part)
    log.info("%d prompts, the first: %s", len(rows), rows[0]["prompt"])


if __name__ == "__main__":
    run(options(), main)
