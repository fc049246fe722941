"""Pair two sources for distribution classification: class 0 is the first, class 1 the second.

Both sides get the same number of images of each class (paper C). A source paired with itself is
cut into two disjoint halves: the control, which a classifier should not tell apart.
"""

import argparse

from synthgap.data.pairs import pair
from synthgap.data.shards import Manifest, write_manifest
from synthgap.job import command, input_path, output_path, run


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--first", type=input_path, required=True, help="manifest")
    parser.add_argument("--second", type=input_path, required=True, help="manifest")
    parser.add_argument("--names", nargs=2, required=True, help="the two sources' names")
    parser.add_argument("--images-per-class", type=int, required=True, help="of each side")
    parser.add_argument("--seed", type=int, required=True, help="the study's")
    parser.add_argument("--manifest", type=output_path, required=True)
    return parser


def main(args: argparse.Namespace) -> None:
    table, classes = pair(
        Manifest(args.first),
        Manifest(args.second),
        tuple(args.names),
        args.images_per_class,
        args.seed,
        args.manifest.parent,
    )
    write_manifest(args.manifest, table, classes)


if __name__ == "__main__":
    run(options(), main)
