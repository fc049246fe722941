"""Measure how much contrast a source's images hold at each frequency.

The radial power spectrum of the first images of a training split: for each frequency its mean over
images and its standard deviation, in decibels. All sources give the same number of images.
"""

import argparse

import numpy as np
import pyarrow.parquet as pq

from synthgap.atomic import atomic_path
from synthgap.data.shards import Manifest
from synthgap.errors import UserError
from synthgap.job import command, input_path, json_object, log, output_path, run
from synthgap.metrics.spectrum import Window, measure, radial_power
from synthgap.metrics.table import Row, to_table
from synthgap.progress import Progress

# Images are read this many at a time, which bounds the memory.
BATCH = 64
WINDOW: Window = "hann"


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--manifest", type=input_path, required=True, help="images to measure")
    parser.add_argument("--source", required=True)
    parser.add_argument("--about", type=json_object, required=True, help="the source's facts")
    parser.add_argument("--samples", type=int, required=True, help="images to take")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--metrics", type=output_path, required=True)
    return parser


def main(args: argparse.Namespace) -> None:
    # Manifests are interleaved, so classes are even among the first images.
    manifest = Manifest(args.manifest)
    if len(manifest) < args.samples:
        raise UserError(
            f"{args.manifest} has {len(manifest)} images and "
            f"studies.transfer.spectrum_samples asks for {args.samples}; lower it"
        )
    powers = []
    with Progress(args.samples, "images") as progress:
        for start in range(0, args.samples, BATCH):
            rows = range(start, min(start + BATCH, args.samples))
            powers.append(radial_power(manifest.images(rows), WINDOW))
            progress.update(len(rows))

    found = measure(np.concatenate(powers), seed=args.seed)
    log.info("%d frequencies of %d images", len(found) // 2, args.samples)
    table = to_table(
        Row(
            study="transfer",
            metric=metric.metric,
            value=metric.value,
            ci_low=metric.low,
            ci_high=metric.high,
            n=metric.n,
            test_source=args.source,
            view="rgb",
            settings=args.about
            | {"frequency": metric.frequency, "window": WINDOW, "samples": args.samples},
        )
        for metric in found
    )
    with atomic_path(args.metrics) as part:
        pq.write_table(table, part)


if __name__ == "__main__":
    run(options(), main)
