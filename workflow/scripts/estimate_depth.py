"""Estimate the depth of one shard's images with a depth model."""

import argparse
import time

import torch

from synthgap.data.derive import derive_shard
from synthgap.data.shards import ShardWriter, count_readable
from synthgap.devices import take_device
from synthgap.hub import origin
from synthgap.job import command, facts, input_path, json_object, output_path, run
from synthgap.progress import Progress
from synthgap.views import make_view


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--images", type=input_path, nargs="+", required=True, help="shards of rgb")
    parser.add_argument("--view", type=json_object, required=True, help="one of config's `views`")
    parser.add_argument("--model", type=input_path, required=True, help="folder of the model")
    parser.add_argument("--threads", type=int, required=True, help="CPU threads")
    parser.add_argument(
        "--gpus", type=int, help="1 for a GPU, 0 for the CPU; default: a GPU if any"
    )
    parser.add_argument("--tar", type=output_path, required=True)
    return parser


def main(args: argparse.Namespace) -> None:
    device = take_device(args.gpus)
    torch.set_num_threads(args.threads)
    view = make_view(args.view, model=args.model, device=device)
    total = count_readable(args.images)
    with ShardWriter(args.tar, args.view["codec"]) as shard, Progress(total, "images") as bar:
        started = time.monotonic()
        batch_size = args.view["batch_size"]
        totals = derive_shard(
            args.images,
            shard,
            args.view,
            view,
            bar,
            batch_size=batch_size,
            threads=args.threads,
        )
        seconds = time.monotonic() - started
        shard.facts = facts(
            args,
            seconds,
            len(shard.rows),
            device=device,
            totals=totals,
            depth_model=origin(args.model),
        )


if __name__ == "__main__":
    run(options(), main)
