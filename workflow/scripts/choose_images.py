"""Choose the images that a model of `edm_models` learns from, real ones and those of other sources.

Writes a manifest whose column `source_label` is 0 for real images.
"""

import argparse

from synthgap.data.choice import Wanted, write_choice
from synthgap.data.shards import Manifest
from synthgap.errors import UserError
from synthgap.job import command, input_path, json_object, log, output_path, run, seed


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--real", type=input_path, required=True, help="manifest")
    parser.add_argument(
        "--synthetic", type=input_path, nargs="*", default=[], help="manifests, as in the choice"
    )
    parser.add_argument(
        "--choice", type=json_object, required=True, help="images, classes and synthetic parts"
    )
    parser.add_argument("--seed", type=seed, required=True, help="the study's")
    parser.add_argument("--images", type=output_path, required=True, help=".parquet to write")
    return parser


def main(args: argparse.Namespace) -> None:
    choice, parts = args.choice, args.choice["synthetic"]
    if len(parts) != len(args.synthetic):
        raise UserError(f"{len(parts)} synthetic parts, and {len(args.synthetic)} manifests")
    wanted = [Wanted("real", Manifest(args.real), choice["images"], choice["classes"])]
    wanted += [
        Wanted(part["source"], Manifest(path), part["images"], part["classes"])
        for part, path in zip(parts, args.synthetic, strict=True)
    ]
    count = write_choice(args.images, wanted, args.seed)
    log.info("%d images of %s", count, ", ".join(one.source for one in wanted))


if __name__ == "__main__":
    run(options(), main)
