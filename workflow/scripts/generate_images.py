"""Generate one shard of images with any diffusers text-to-image pipeline.

Killed and started again it goes on after its last finished batch and ends in the same bytes.
"""

import argparse
import json
import shutil
import time
from pathlib import Path

import pyarrow.parquet as pq

from synthgap.data.real import shard_slice
from synthgap.data.shards import Sample, ShardWriter
from synthgap.errors import UserError
from synthgap.generators.generation import Generate, generate_resumably
from synthgap.job import (
    InputPath,
    command,
    facts,
    input_path,
    json_object,
    output_path,
    run,
    scratch_folder,
)


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--prompts", type=input_path, required=True, help="from write_prompts")
    parser.add_argument("--model", type=folder_or_id, required=True, help="diffusers pipeline")
    parser.add_argument("--generator", type=json_object, required=True, help="steps, guidance, ...")
    parser.add_argument("--shard", type=int, required=True)
    parser.add_argument("--shards", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True, help="CPU threads")
    parser.add_argument("--scratch", type=Path, required=True, help="folder of unfinished work")
    parser.add_argument("--tar", type=output_path, required=True)
    return parser


def folder_or_id(text: str) -> Path | str:
    """Option type: a folder, whose state then counts when unfinished work is taken up, or an id."""
    return InputPath(text) if Path(text).exists() else text


def main(args: argparse.Namespace) -> None:
    started = time.monotonic()
    table = pq.read_table(args.prompts)
    rows = table.to_pylist()[shard_slice(table.num_rows, args.shard, args.shards)]
    if not rows:
        raise UserError(
            f"synthetic.shards: {args.shards} shards for {table.num_rows} images; use fewer"
        )
    generator, device = args.generator, "cpu"

    def load() -> Generate:
        nonlocal device
        import torch

        from synthgap.generators.pipeline import TextToImage

        torch.set_num_threads(args.threads)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return TextToImage(str(args.model), generator, device).generate

    images = generate_resumably(
        rows,
        load,
        batch_size=generator["batch_size"],
        size=generator["stored_size"],
        image_format=generator["image_format"],
        folder=scratch_folder(args),
    )
    with ShardWriter(args.tar, generator["image_format"]) as shard:
        for row, (status, image) in zip(rows, images, strict=True):
            details = json.loads(row["details"]) | {
                "model": str(args.model),
                "batch_size": generator["batch_size"],
            }
            sample = Sample(
                row["key"],
                row["class_index"],
                row["class_name"],
                row["prompt"],
                row["seed"],
                details,
            )
            if image is None:
                shard.add_failed(sample, status)
            else:
                shard.add_encoded(sample, image)
        failed = [f"{row['key']}: {row['status']}" for row in shard.failed()]
        shard.facts = facts(args, time.monotonic() - started, len(rows), device, failed=failed)
    shutil.rmtree(args.scratch)


if __name__ == "__main__":
    run(options(), main)
