"""Derive a view of one shard: structure, a band of frequencies, patches or a crop."""

import argparse
import time
from dataclasses import replace

import numpy as np

from synthgap.data.images import decode
from synthgap.data.shards import ShardWriter, read_rows, read_shard
from synthgap.job import command, facts, input_path, json_object, output_path, run
from synthgap.progress import Progress
from synthgap.views import apply_view

# Facts of a batch that add up over a shard.
COUNTS = ("clipped_values", "constant_maps")


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--images", type=input_path, required=True, help="shard of rgb images")
    parser.add_argument("--view", type=json_object, required=True, help="one of config's `views`")
    parser.add_argument("--tar", type=output_path, required=True)
    return parser


def main(args: argparse.Namespace) -> None:
    started = time.monotonic()
    totals: dict[str, int] = {}
    # Lossless always: a lossy codec would add the very frequencies that a view removes.
    total = read_rows(args.images).num_rows
    with ShardWriter(args.tar, "png") as shard, Progress(total, "images") as bar:
        for samples, contents in read_shard(args.images):
            images = np.stack([decode(content) for content in contents])
            derived, about = apply_view(images, args.view, [sample.seed for sample in samples])
            how = {name: value for name, value in about.items() if isinstance(value, str)}
            for name, value in about.items():
                if name in COUNTS:
                    totals[name] = totals.get(name, 0) + value
            for sample, image in zip(samples, derived, strict=True):
                shard.add(
                    replace(sample, details=sample.details | {"view": args.view} | how), image
                )
            bar.update(len(samples))
        shard.facts = facts(args, time.monotonic() - started, len(shard.rows), totals=totals)


if __name__ == "__main__":
    run(options(), main)
