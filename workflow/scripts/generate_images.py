"""Generate one shard of images with any diffusers text-to-image pipeline.

Killed and started again it goes on after its last finished batch and ends in the same bytes.
"""

import argparse
import importlib
import json
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from synthgap.data.parquet_tables import parsed, read_table
from synthgap.data.shards import Sample, ShardWriter
from synthgap.data.slices import shard_slice
from synthgap.devices import take_device
from synthgap.errors import UserError
from synthgap.generators.generation import Model, Tally, generate_resumably
from synthgap.hub import origin
from synthgap.job import (
    command,
    facts,
    input_path,
    json_object,
    log,
    output_path,
    run,
    scratch_folder,
    state_digest,
)

PROMPT_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("class_index", pa.int64()),
        ("class_name", pa.string()),
        ("prompt", pa.string()),
        ("seed", pa.int64()),
        ("details", pa.string()),
    ]
)


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--prompts", type=input_path, required=True, help="from write_prompts")
    parser.add_argument("--pipeline", type=input_path, required=True, help="diffusers folder")
    parser.add_argument("--generator", type=json_object, required=True, help="steps, guidance, ...")
    parser.add_argument("--realism", type=input_path, help="of train_realism, to steer by")
    parser.add_argument(
        "--scorer-models", type=input_path, nargs="*", default=[], help="of a search, by role"
    )
    parser.add_argument("--shard", type=int, required=True)
    parser.add_argument("--shards", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True, help="CPU threads")
    parser.add_argument("--gpus", type=int, choices=[0, 1], help="default: one where there is one")
    parser.add_argument("--max-failed", type=int, required=True, help="failed images allowed")
    parser.add_argument("--scratch", type=Path, required=True, help="folder of unfinished work")
    parser.add_argument("--tar", type=output_path, required=True)
    return parser


def main(args: argparse.Namespace) -> None:
    started = time.monotonic()
    rows = read_prompts(args.prompts, args.shard, args.shards)
    generator, tally = args.generator, Tally()

    def load() -> Model:
        import torch

        from synthgap.generators.pipeline import TextToImage

        torch.set_num_threads(args.threads)
        device = take_device(args.gpus)
        log.info("device: %s", device)
        repeated = [text for text, n in Counter(row["prompt"] for row in rows).items() if n > 1]
        classes = {row["prompt"]: row["class_index"] for row in rows}
        model = TextToImage(args.pipeline, generator, device, repeated, classes, args.realism)
        if "search" not in generator:
            return model
        # By name, so that its code counts among what shapes the images of a search alone.
        search = importlib.import_module("synthgap.generators.search")
        searching: Model = search.random_search(
            model, generator["search"], args.scorer_models, device
        )
        return searching

    images = generate_resumably(
        rows,
        load,
        batch_size=generator["batch_size"],
        size=generator["stored_size"],
        image_format=generator["image_format"],
        folder=scratch_folder(args),
        tally=tally,
        attempts=generator["attempts"],
        max_failed=args.max_failed,
        workers=args.threads,
    )
    model = origin(args.pipeline)
    with ShardWriter(args.tar, generator["image_format"]) as shard:
        for row, made in zip(rows, images, strict=True):
            details = json.loads(row["details"]) | made.details | {"model": model}
            sample = Sample(**row | {"details": details})
            if made.image is None:
                shard.add_failed(sample, made.status)
            else:
                shard.add_encoded(sample, made.image)
        failed = [f"{row['key']}: {row['status']}" for row in shard.failed()]
        seconds = time.monotonic() - started
        device = tally.made_with[-1]["device"]
        shard.facts = facts(args, seconds, len(rows), device, tally=asdict(tally), failed=failed)
        shard.facts["pipeline_state"] = state_digest(args.pipeline)
        # The device's own speed; the time of this attempt says nothing after a kill.
        shard.facts["images_per_second"] = round(len(rows) / tally.seconds, 4)
    if tally.truncated:
        log.info(
            "prompts cut short, by tokenizer: %s (see `truncated` in the rows)", tally.truncated
        )


def read_prompts(path: Path, shard: int, shards: int) -> list[dict[str, Any]]:
    """Return the rows of one shard's prompts."""
    table = read_table(path, PROMPT_SCHEMA, "write_prompts")
    wanted = shard_slice(table.num_rows, shard, shards)
    rows: list[dict[str, Any]] = table.slice(wanted.start, wanted.stop - wanted.start).to_pylist()
    for row in rows:
        parsed(path, row["details"])
    if shard >= shards:
        raise UserError(f"there is no shard {shard:05d}: the last of {shards} is {shards - 1:05d}")
    if not rows:
        raise UserError(f"{path}: {shards} shards for {table.num_rows} images; use fewer")
    return rows


if __name__ == "__main__":
    run(options(), main)
