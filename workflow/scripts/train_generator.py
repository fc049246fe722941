"""Train a small text-to-image model on real images, saved as a diffusers pipeline folder.

Killed and started again it goes on from its last checkpoint and ends in the same bytes.
"""

import argparse
import shutil
from pathlib import Path

from synthgap.checkpoint import Checkpoint
from synthgap.data.captions import read_captions
from synthgap.data.shards import Manifest
from synthgap.diffusion.text_to_image import train_pipeline
from synthgap.job import command, input_path, json_object, output_path, run, scratch_folder


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--manifest", type=input_path, required=True, help="real training images")
    parser.add_argument("--captions", type=input_path, nargs="+", required=True)
    parser.add_argument("--model", type=json_object, required=True, help="of `trained_models`")
    parser.add_argument("--checkpoint-seconds", type=float, required=True)
    parser.add_argument("--scratch", type=Path, required=True, help="folder of unfinished work")
    parser.add_argument("--pipeline", type=output_path, required=True, help="folder to write")
    return parser


def main(args: argparse.Namespace) -> None:
    captions = {row["key"]: row["caption"] for row in read_captions(args.captions)}
    folder = scratch_folder(args)
    pipeline = train_pipeline(
        Manifest(args.manifest),
        captions,
        args.model,
        [Checkpoint(folder / stage, args.checkpoint_seconds) for stage in ("autoencoder", "flow")],
    )
    # Whole or not at all: the folder gets its name when everything is in it.
    unfinished = args.pipeline.with_name(f".{args.pipeline.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    pipeline.save_pretrained(unfinished, safe_serialization=True)
    shutil.rmtree(args.pipeline, ignore_errors=True)
    unfinished.rename(args.pipeline)
    shutil.rmtree(args.scratch)


if __name__ == "__main__":
    run(options(), main)
