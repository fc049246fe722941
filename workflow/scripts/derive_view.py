"""Derive a view of one shard: structure, a band of frequencies, patches or crops."""

import argparse
import time

from synthgap.data.derive import derive_shard
from synthgap.data.shards import ShardWriter, count_readable
from synthgap.job import command, facts, input_path, json_object, output_path, run
from synthgap.progress import Progress
from synthgap.views import make_view


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--images", type=input_path, nargs="+", required=True, help="shards of rgb")
    parser.add_argument("--view", type=json_object, required=True, help="one of config's `views`")
    parser.add_argument("--tar", type=output_path, required=True)
    return parser


def main(args: argparse.Namespace) -> None:
    started = time.monotonic()
    view = make_view(args.view)
    total = count_readable(args.images)
    with ShardWriter(args.tar, args.view["codec"]) as shard, Progress(total, "images") as bar:
        totals = derive_shard(args.images, shard, args.view, view, bar)
        seconds = time.monotonic() - started
        shard.facts = facts(args, seconds, len(shard.rows), totals=totals)


if __name__ == "__main__":
    run(options(), main)
