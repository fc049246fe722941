"""Measure how a source's images lie among real training images.

Density, coverage, precision and recall (Naeem et al. 2020), on features of one encoder. Both
sides give the same number of images to every comparison, as these metrics depend on it.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from synthgap.atomic import atomic_path
from synthgap.errors import UserError
from synthgap.job import command, input_path, json_object, log, output_path, run
from synthgap.metrics.neighbours import measure
from synthgap.metrics.table import Row, to_table


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--real", type=input_path, required=True, help="features, training split")
    parser.add_argument("--other", type=input_path, required=True, help="features of the source")
    parser.add_argument("--source", required=True)
    parser.add_argument("--about", type=json_object, required=True, help="the source's facts")
    parser.add_argument("--encoder", required=True)
    parser.add_argument("--view", required=True)
    parser.add_argument("--samples", type=int, required=True, help="images of each side")
    parser.add_argument("--neighbours", type=int, required=True, help="k")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--metrics", type=output_path, required=True)
    return parser


def main(args: argparse.Namespace) -> None:
    real, other = (read_features(path, args.samples) for path in (args.real, args.other))
    found = measure(real, other, k=args.neighbours, seed=args.seed)
    for metric in found:
        log.info("%s %.4f [%.4f, %.4f]", metric.metric, metric.value, metric.low, metric.high)
    rows = [
        Row(
            study="transfer",
            metric=metric.metric,
            value=metric.value,
            ci_low=metric.low,
            ci_high=metric.high,
            n=metric.n,
            train_source="real",
            test_source=args.source,
            view=args.view,
            encoder=args.encoder,
            settings=args.about | {"samples": args.samples},
        )
        for metric in found
    ]
    with atomic_path(args.metrics) as part:
        pq.write_table(to_table(rows), part)


def read_features(path: Path, samples: int) -> NDArray[np.float32]:
    """Return the first `samples` features; manifests are interleaved, so classes are even."""
    features = pq.read_table(path, columns=["feature"])["feature"].combine_chunks()
    if len(features) < samples:
        raise UserError(
            f"{path} has {len(features)} images and studies.transfer.distribution_samples asks "
            f"for {samples}; lower it"
        )
    values: NDArray[np.float32] = features.flatten().to_numpy().reshape(len(features), -1)
    return values[:samples]


if __name__ == "__main__":
    run(options(), main)
