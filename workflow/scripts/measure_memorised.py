"""Count the generated images that are copies of training images, by thresholds of one's own."""

import argparse

import numpy as np
import pyarrow.parquet as pq

from synthgap.errors import UserError
from synthgap.job import command, input_path, json_object, log, output_path, run
from synthgap.metrics.measures import write_measures
from synthgap.metrics.memorised import memorised


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument(
        "--nearest", type=input_path, required=True, help="of measure_replication, .parquet"
    )
    parser.add_argument(
        "--thresholds", type=json_object, required=True, help="by metric: ssim, lpips"
    )
    parser.add_argument("--about", type=json_object, default={}, help="to be said of all numbers")
    parser.add_argument("--output", type=output_path, required=True, help=".json")
    return parser


def main(args: argparse.Namespace) -> None:
    table = pq.read_table(args.nearest)
    if lacking := [name for name in args.thresholds if name not in table.column_names]:
        raise UserError(
            f"{args.nearest} has no column {lacking[0]}; measure_replication found none"
        )
    values = {name: np.asarray(table[name].to_numpy()) for name in args.thresholds}
    found = memorised(values, args.thresholds)
    for one in found:
        log.info("%s %.4f [%.4f, %.4f]", one.metric, one.value, one.low, one.high)
    write_measures(args.output, found, args.about)


if __name__ == "__main__":
    run(options(), main)
