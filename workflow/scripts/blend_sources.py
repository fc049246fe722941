"""Blend parts of sources into one data set to train on.

Takes a share of each class's images of each source, drawn by the seed: fewer images of one source
(paper A, appendix A), or real and synthetic images together (paper C).
"""

import argparse
import math

from synthgap.data.blends import Part, blend
from synthgap.data.shards import Manifest, write_manifest
from synthgap.errors import UserError
from synthgap.job import InputPath, command, input_path, output_path, run, seed


def part(text: str) -> tuple[str, float, InputPath]:
    """Option type: NAME=SHARE=MANIFEST."""
    name, first, rest = text.partition("=")
    share, second, path = rest.partition("=")
    try:
        number = float(share)
    except ValueError:
        number = -1
    if not (name and first and second and 0 < number < math.inf):
        raise UserError(f"--part {text}: give NAME=SHARE=MANIFEST, with a share above 0")
    return name, number, input_path(path)


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument(
        "--part",
        type=part,
        required=True,
        action="append",
        metavar="NAME=SHARE=MANIFEST",
        help="a source and the share of its images; may be given more than once",
    )
    parser.add_argument(
        "--like", type=input_path, help="shares are of this manifest's images instead"
    )
    parser.add_argument(
        "--fill",
        action="store_true",
        help="keep the proportions, but take as many images as there are",
    )
    parser.add_argument(
        "--given",
        action="append",
        default=[],
        metavar="NAME",
        help="a source whose images were made from their labels: a classifier that is told few "
        "labels is told these all the same; may be given more than once",
    )
    parser.add_argument("--seed", type=seed, required=True, help="the study's")
    parser.add_argument("--manifest", type=output_path, required=True)
    return parser


def main(args: argparse.Namespace) -> None:
    if len({name for name, _, _ in args.part}) < len(args.part):
        raise UserError("--part: each source may be given once only")
    if unknown := set(args.given) - {name for name, _, _ in args.part}:
        raise UserError(f"--given {min(unknown)}: no --part of that name")
    like = Manifest(args.like) if args.like else None
    parts = [
        Part(name, Manifest(path), share, like, name in args.given)
        for name, share, path in args.part
    ]
    for one in parts:
        if one.share > 1 and not like:
            raise UserError(f"--part {one.source}: a share of its own images is at most 1")
    table, classes = blend(parts, args.seed, args.manifest.parent, args.fill)
    write_manifest(args.manifest, table, classes)


if __name__ == "__main__":
    run(options(), main)
