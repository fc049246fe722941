"""Make one image of a shard anew and tell whether it is the same, and if not, by how much.

The batch that the image was made in is made again, as the size of a batch moves last digits;
`--alone` makes only the image. Exits with 0 if it is identical, with 3 if it is not.

  python workflow/scripts/regenerate_image.py --key 0007-000123 --image again.png \\
      --tar results/images/sd15-classname/train/rgb/00003.tar
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from synthgap.atomic import write_bytes
from synthgap.data.images import decode
from synthgap.data.shards import ImageReader, read_rows
from synthgap.devices import take_device
from synthgap.errors import UserError, suggest
from synthgap.generators.generation import (
    OutOfMemoryError,
    attempt_seed,
    encode_image,
    members,
)
from synthgap.generators.search import candidate_seed
from synthgap.hub import origin
from synthgap.job import command, input_path, log, output_path, run, state_digest


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--tar", type=input_path, required=True, help="a shard of generate_images")
    parser.add_argument("--key", required=True, help="of the image, as in the shard's parquet")
    parser.add_argument("--pipeline", type=input_path, help="folder, if not the recorded one")
    parser.add_argument("--realism", type=input_path, help="classifier, if not the recorded one")
    parser.add_argument("--alone", action="store_true", help="without the others of its batch")
    parser.add_argument("--image", type=output_path, help="file for the image made anew")
    return parser


def main(args: argparse.Namespace) -> None:
    rows = read_rows(args.tar).to_pylist()
    for row in rows:
        row["details"] = json.loads(row["details"])
    keys = [row["key"] for row in rows]
    if args.key not in keys:
        raise UserError(f"{args.tar}: no image {args.key}{suggest(args.key, keys)}")
    row = rows[keys.index(args.key)]
    if row["status"] != "ok":
        raise UserError(f"{args.tar}: {args.key} has no image: {row['status']}")
    facts = json.loads(args.tar.with_suffix(".json").read_text())
    if facts["command"] != "generate_images":
        raise UserError(f"{args.tar} was made by {facts['command']}, not by generate_images")
    content = generate(args, facts, rows, row)
    if args.image:
        write_bytes(args.image, content)
    with ImageReader() as reader:
        place = row["offset"], row["length"], row["sha256"]
        recorded = reader.read_bytes(Path(args.tar), *place)
    sys.exit(compare(recorded, content, args.key))


def generate(
    args: argparse.Namespace, facts: dict[str, Any], rows: list[dict[str, Any]], row: dict[str, Any]
) -> bytes:
    """Return the encoded image that the row's own call makes now."""
    import torch

    from synthgap.generators.pipeline import TextToImage

    recorded, generator = facts["options"], facts["options"]["generator"]
    torch.set_num_threads(recorded["threads"])
    device = take_device(None)
    together, place = ([row], 0) if args.alone else members(rows, args.key)
    prompts = [one["prompt"] for one in together]
    everything = [one["prompt"] for one in rows]
    repeated = [prompt for prompt in prompts if everything.count(prompt) > 1]
    pipeline = args.pipeline or input_path(recorded["pipeline"])
    realism = recorded.get("realism")
    if realism or args.realism:
        realism = args.realism or input_path(realism)
    classes = {one["prompt"]: one["class_index"] for one in rows}
    model = TextToImage(pipeline, generator, device, repeated, classes, realism)
    if origin(pipeline) != row["details"]["model"]:
        log.warning("the model was %s then, %s now", row["details"]["model"], origin(pipeline))
    elif state_digest(pipeline) != facts["pipeline_state"]:
        log.warning("the files of %s are not those that the shard was made with", pipeline)
    if model.made_with not in facts["tally"]["made_with"]:
        then = " or ".join(map(str, facts["tally"]["made_with"]))
        log.warning("made with %s then, with %s now", then, model.made_with)
    seeds = [attempt_seed(one["seed"], row["details"]["attempt"]) for one in together]
    # Of a search, the one of its candidates that was kept.
    seeds = [candidate_seed(seed, row["details"].get("candidate", 0)) for seed in seeds]
    try:
        images = model.generate(prompts, seeds)
    except OutOfMemoryError:
        raise UserError(
            f"{len(prompts)} images at once do not fit in this device's memory; make the image "
            "`--alone`, or on a larger device"
        ) from None
    if images.failures[place]:
        raise UserError(f"{args.key}: no image this time: {images.failures[place]}")
    return encode_image(images.pixels[place], generator["stored_size"], generator["image_format"])


def compare(recorded: bytes, made: bytes, key: str) -> int:
    """Say how two encoded images differ, and return the exit status."""
    if recorded == made:
        print(f"{key}: identical, byte for byte")
        return 0
    difference = np.abs(decode(recorded).astype(int) - decode(made))
    differing = (difference > 0).any(axis=2).mean()
    if not difference.any():
        print(f"{key}: the same pixels in another encoding")
        return 0
    print(
        f"{key}: not identical: {differing:.2%} of the pixels differ, by at most "
        f"{difference.max()} of 255 grey levels and {difference.mean():.4f} on average"
    )
    return 3


if __name__ == "__main__":
    run(options(), main)
