"""Compute what of the real features every comparison with them needs, once for all sources.

The radii of their neighbourhoods, their mean and covariance, and their mean kernel.
"""

import argparse

from synthgap.data.features import Features
from synthgap.devices import limit_threads, take_device
from synthgap.job import command, count, input_path, log, output_path, run, seed
from synthgap.metrics.reference import FAMILIES, Reference


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--real", type=input_path, nargs="+", required=True, help="features")
    parser.add_argument("--metrics", nargs="+", choices=FAMILIES, default=["prdc"])
    parser.add_argument("--samples", type=count, help="the first of each side; all if left out")
    parser.add_argument("--classes", type=seed, nargs="+", help="real images of these alone")
    parser.add_argument("--k", type=count, default=5, help="neighbours that a ball reaches to")
    parser.add_argument("--distance", choices=["euclidean", "cosine"], default="euclidean")
    parser.add_argument("--threads", type=count, default=2, help="CPU threads")
    parser.add_argument("--gpus", type=int, choices=[0, 1], help="default: one where there is one")
    parser.add_argument("--reference", type=output_path, required=True, help=".safetensors")
    return parser


def main(args: argparse.Namespace) -> None:
    device = take_device(args.gpus)
    limit_threads(args.threads)
    with Features(args.real, args.samples, classes=args.classes) as real:
        log.info("%d images, %d features each", *real.values.shape)
        reference = Reference.of(
            real.values, args.metrics, k=args.k, distance=args.distance, device=device
        )
    reference.save(args.reference)


if __name__ == "__main__":
    run(options(), main)
