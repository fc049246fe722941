"""Compose one shard of CutMix images from real training images (paper B, appendix E)."""

import argparse
import time

import numpy as np
from numpy.typing import NDArray

from synthgap.composites import choose_partner, choose_pattern, cutmix
from synthgap.data.real import shard_slice
from synthgap.data.shards import Manifest, Sample, ShardWriter
from synthgap.job import command, facts, input_path, output_path, run
from synthgap.progress import Progress
from synthgap.seeds import derive_seed


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--manifest", type=input_path, required=True, help="of real images")
    parser.add_argument("--pattern", required=True, help="half, quarter, ninth, sixteenth or all")
    parser.add_argument("--seed", type=int, required=True, help="the study's")
    parser.add_argument("--shard", type=int, required=True)
    parser.add_argument("--shards", type=int, required=True)
    parser.add_argument("--image-format", choices=["png", "webp", "jpeg"], required=True)
    parser.add_argument("--tar", type=output_path, required=True)
    return parser


def main(args: argparse.Namespace) -> None:
    started = time.monotonic()
    manifest = Manifest(args.manifest)
    rows = manifest.table.select(["key", "class_index", "class_name"]).to_pylist()
    classes = manifest.class_indices
    # Turns within a class, so that the pattern says nothing of the class.
    turns = turns_within_class(classes)
    positions = range(len(rows))[shard_slice(len(rows), args.shard, args.shards)]
    counts: dict[str, int] = {}
    with (
        ShardWriter(args.tar, args.image_format) as shard,
        Progress(len(positions), "images") as bar,
    ):
        for position in positions:
            row = rows[position]
            seed = derive_seed(args.seed, f"cutmix-{args.pattern}", row["class_name"], position)
            partner = choose_partner(classes, position, derive_seed(seed, "partner"))
            pattern = choose_pattern(args.pattern, turns[position])
            base_image, partner_image = manifest.images([position, partner])
            image, box = cutmix(base_image, partner_image, pattern, np.random.default_rng(seed))
            details = {
                "pattern": pattern,
                "box": [int(side) for side in box],  # top, left, height, width of the partner
                "partner_key": rows[partner]["key"],
                "partner_class_index": rows[partner]["class_index"],
                "partner_class_name": rows[partner]["class_name"],
            }
            sample = Sample(row["key"], row["class_index"], row["class_name"], "", seed, details)
            shard.add(sample, image)
            counts[pattern] = counts.get(pattern, 0) + 1
            bar.update()
        shard.facts = facts(args, time.monotonic() - started, len(positions), patterns=counts)


def turns_within_class(classes: NDArray[np.int64]) -> list[int]:
    """Return each sample's rank within its class, shifted by the class."""
    seen: dict[int, int] = {}
    turns = []
    for class_index in classes.tolist():
        rank = seen.get(class_index, 0)
        seen[class_index] = rank + 1
        turns.append(class_index + rank)
    return turns


if __name__ == "__main__":
    run(options(), main)
