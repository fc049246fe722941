"""Write the dataset card of a source: what its images are, whose, and how they were made."""

import argparse
import json

from synthgap.atomic import write_text
from synthgap.cards import read_split, write_card
from synthgap.errors import UserError
from synthgap.job import command, input_path, json_object, output_path, run


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--about", type=json_object, required=True, help="the source's facts")
    parser.add_argument(
        "--splits", nargs="+", choices=["train", "val", "test"], required=True, help="in order"
    )
    parser.add_argument(
        "--manifests", type=input_path, nargs="+", required=True, help="one a split"
    )
    parser.add_argument("--model", type=input_path, help="facts of a downloaded model (json)")
    parser.add_argument("--card", type=output_path, required=True, help="README.md to write")
    return parser


def main(args: argparse.Namespace) -> None:
    if len(args.splits) != len(args.manifests):
        raise UserError("--manifests: give one for each of --splits")
    about = args.about
    if args.model and not about.get("license"):
        model = json.loads(args.model.read_text())
        about |= {"license": model.get("license"), "gated": bool(model.get("gated"))}
        about["license_link"] = f"https://huggingface.co/{model['model']}"
    pairs = zip(args.splits, args.manifests, strict=True)
    write_text(args.card, write_card(about, [read_split(*pair) for pair in pairs]))


if __name__ == "__main__":
    run(options(), main)
