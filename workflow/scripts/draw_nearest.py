"""Draw the generated images that are nearest to a training image, and under each that image."""

import argparse

import numpy as np
import pyarrow.parquet as pq

from synthgap.atomic import atomic_path
from synthgap.data.shards import Manifest
from synthgap.job import command, input_path, output_path, run
from synthgap.metrics.memorised import IS_SIMILARITY
from synthgap.report.sheets import probe_sheet

COLUMNS = 12


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument(
        "--real", type=input_path, required=True, help="manifest of training images"
    )
    parser.add_argument("--generated", type=input_path, nargs="+", required=True, help="manifests")
    parser.add_argument(
        "--nearest", type=input_path, nargs="+", required=True, help="of measure_replication"
    )
    parser.add_argument("--labels", nargs="+", required=True, help="one a manifest")
    parser.add_argument("--metric", choices=list(IS_SIMILARITY), required=True)
    parser.add_argument("--sheet", type=output_path, required=True, help="PNG to write")
    return parser


def main(args: argparse.Namespace) -> None:
    real = Manifest(args.real)
    places = {key: row for row, key in enumerate(real.table["key"].to_pylist())}
    groups = []
    for label, manifest, nearest in zip(args.labels, args.generated, args.nearest, strict=True):
        generated, table = Manifest(manifest), pq.read_table(nearest)
        sign = -1 if IS_SIMILARITY[args.metric] else 1
        chosen = np.argsort(sign * table[args.metric].to_numpy(), kind="stable")[:COLUMNS]
        rows = {key: row for row, key in enumerate(generated.table["key"].to_pylist())}
        keys = table["key"].to_pylist()
        copied = table[f"nearest_{args.metric}_key"].to_pylist()
        above = generated.images([rows[keys[i]] for i in chosen])
        below = real.images([places[copied[i]] for i in chosen])
        groups.append((label, [list(above), list(below)]))
    side = max(rows[0][0].shape[0] for _, rows in groups)
    columns = min(len(rows[0]) for _, rows in groups)
    groups = [(label, [row[:columns] for row in rows]) for label, rows in groups]
    sheet = probe_sheet(groups, [""] * columns, scale=max(1, 48 // side))
    with atomic_path(args.sheet) as part:
        sheet.save(part, "PNG")


if __name__ == "__main__":
    run(options(), main)
