"""Ask the hub whether a model may be downloaded, so that one that may not is known at once."""

import argparse
import json

from synthgap.atomic import write_text
from synthgap.hub import INDEX, check_access
from synthgap.job import command, output_path, run


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--model", required=True, help="the hub's id, OWNER/NAME")
    parser.add_argument("--revision", help="commit, tag or branch; default: the main branch")
    parser.add_argument("--layout", choices=INDEX, default="pipeline", help="diffusers' or a model")
    parser.add_argument("--access", type=output_path, required=True, help=".json to write")
    return parser


def main(args: argparse.Namespace) -> None:
    access = check_access(args.model, args.revision, layout=args.layout)
    write_text(args.access, json.dumps(access) + "\n")


if __name__ == "__main__":
    run(options(), main)
