"""Gather the shards of one source, split and view in a manifest, checking that each is whole."""

import argparse

from synthgap.data.shards import gather
from synthgap.job import command, input_path, output_path, run


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--tars", type=input_path, nargs="+", required=True)
    parser.add_argument("--max-failed", type=int, required=True, help="failed samples allowed")
    parser.add_argument("--manifest", type=output_path, required=True)
    return parser


def main(args: argparse.Namespace) -> None:
    gather(args.tars, args.manifest, args.max_failed)


if __name__ == "__main__":
    run(options(), main)
