"""Put sources together as one data set whose classes are the sources, to be told apart (paper C).

Every source gives the same number of images of each class, in every split. A source that is named
twice is cut into two disjoint halves: the control, which a classifier should not tell apart. A real
image and what was generated from its caption must be in the same split.
"""

import argparse

import pyarrow as pa

from synthgap.data.comparisons import compare, require_apart
from synthgap.data.shards import Manifest, write_manifest
from synthgap.errors import UserError
from synthgap.job import command, count, input_path, output_path, run, seed

SPLITS = ("train", "val", "test")


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--sources", nargs="+", required=True, help="names, in the classes' order")
    for split in SPLITS:
        parser.add_argument(
            f"--{split}", type=input_path, nargs="+", required=True, help="a manifest a source"
        )
    parser.add_argument(
        "--images-per-class",
        type=count,
        nargs=3,
        required=True,
        metavar=tuple(split.upper() for split in SPLITS),
        help="of each source and class",
    )
    parser.add_argument(
        "--at-most",
        action="store_true",
        help="in training, take fewer of a class of which a source has fewer",
    )
    parser.add_argument("--seed", type=seed, required=True, help="the study's")
    parser.add_argument(
        "--manifests", type=output_path, nargs=3, required=True, help="to write, in that order"
    )
    return parser


def main(args: argparse.Namespace) -> None:
    found: dict[str, pa.Table] = {}
    classes: list[str] = []
    for split, images, path in zip(SPLITS, args.images_per_class, args.manifests, strict=True):
        paths = getattr(args, split)
        if len(paths) != len(args.sources) or len(paths) < 2:
            raise UserError(f"--{split}: give a manifest for each of two or more --sources")
        manifests = {path: Manifest(path) for path in paths}
        sources = [(name, manifests[path]) for name, path in zip(args.sources, paths, strict=True)]
        at_most = args.at_most and split == "train"
        found[split], classes = compare(sources, images, args.seed, path.parent, at_most=at_most)
    require_apart(found, args.sources)
    for split, path in zip(SPLITS, args.manifests, strict=True):
        write_manifest(path, found[split], classes)


if __name__ == "__main__":
    run(options(), main)
