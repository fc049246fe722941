"""Have a service's batch endpoint caption the images of many shards.

Its replies go into the cache, where `caption_images` finds them. Killed and started again it finds
its batches again, and pays for none of them twice.
"""

import argparse
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from synthgap.atomic import write_text
from synthgap.captioners import Picture
from synthgap.captioners.batches import BatchQueue
from synthgap.captioners.cache import ReplyCache
from synthgap.captioners.pictures import pictures_of
from synthgap.captioners.service import cache_settings
from synthgap.data.shards import ImageReader, count_readable
from synthgap.errors import UserError
from synthgap.job import command, facts, input_path, json_object, log, output_path, run


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--tars", type=input_path, nargs="+", required=True, help="shards")
    parser.add_argument("--captioner", type=json_object, required=True, help="config's `captioner`")
    parser.add_argument("--service", type=json_object, required=True, help="how it is reached")
    parser.add_argument("--cache", type=Path, required=True, help="folder of its replies")
    parser.add_argument("--max-failed", type=float, required=True, help="share without a caption")
    parser.add_argument("--scratch", type=Path, required=True, help="folder of unfinished work")
    parser.add_argument("--facts", type=output_path, required=True, help="what came of it (JSON)")
    return parser


def main(args: argparse.Namespace) -> None:
    started, total = time.monotonic(), count_readable(args.tars)
    with (
        ImageReader() as reader,
        ReplyCache(args.cache, cache_settings(args.captioner)) as cache,
    ):

        def pictures() -> Iterator[Picture]:
            for tar in args.tars:
                yield from pictures_of(tar, reader)

        # Known again after a restart or a move, and another for every other results folder.
        place = os.path.relpath(args.facts.resolve(), args.cache.resolve())
        owner = hashlib.sha256(place.encode()).hexdigest()[:16]
        queue = BatchQueue(args.captioner, args.service, cache, owner, args.scratch)
        tally = queue.run(pictures, total)
    counts = {
        "batches": tally.batches,
        "replies": tally.replies,
        "sent_again": tally.sent_again,
        "rejected": len(tally.rejected),
    }
    log.info("%s", counts)
    if len(tally.rejected) > args.max_failed * total:
        raise UserError(
            f"the service gave no reply to {len(tally.rejected)} of {total} images, and "
            f"captioner.max_failed allows {args.max_failed:.3g} of them; the first: "
            f"{next(iter(tally.rejected.values()))}"
        )
    told = facts(args, time.monotonic() - started, total, counts=counts, rejected=tally.rejected)
    write_text(args.facts, json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    run(options(), main)
