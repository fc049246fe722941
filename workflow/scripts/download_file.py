"""Download weights that are published as a single file."""

import argparse
import json
import logging

from synthgap.atomic import write_text
from synthgap.job import command, output_path, run
from synthgap.weights import WeightFile, download_file


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--sha256", default="", help="the digest or its first digits, if known")
    parser.add_argument("--file", type=output_path, required=True, help="to write")
    parser.add_argument("--facts", type=output_path, required=True, help=".json to write")
    return parser


def main(args: argparse.Namespace) -> None:
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # it tells of each request
    found = download_file(WeightFile(args.file.name, args.url, args.sha256), args.file)
    write_text(args.facts, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    run(options(), main)
