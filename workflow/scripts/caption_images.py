"""Caption the images of one shard.

Killed and started again it goes on after its last finished call, or, with a service, after its
last reply, and ends in the same table.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from synthgap.atomic import atomic_path, write_text
from synthgap.captioners import Captioner, Picture, Reply, load_captioner, shaping_module
from synthgap.captioners.captioning import caption_resumably, judge
from synthgap.captioners.pictures import pictures_of
from synthgap.data.captions import CAPTION_SCHEMA, ROWS_AT_ONCE
from synthgap.data.shards import ImageReader, count_readable
from synthgap.devices import take_device
from synthgap.errors import UserError
from synthgap.job import (
    command,
    facts,
    input_path,
    json_object,
    log,
    output_path,
    run,
    scratch_folder,
)
from synthgap.progress import Progress

LISTED = 20


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--tar", type=input_path, required=True, help="shard of images")
    parser.add_argument("--captioner", type=json_object, required=True, help="config's `captioner`")
    parser.add_argument("--model", type=input_path, help="folder of a model of transformers")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--gpus", type=int, choices=[0, 1], help="default: one where there is one")
    parser.add_argument("--service", type=json_object, help="how a service is reached")
    parser.add_argument("--batches", type=input_path, help="from request_captions")
    parser.add_argument("--cache", type=Path, help="folder of a service's replies")
    parser.add_argument("--max-failed", type=float, required=True, help="share without a caption")
    parser.add_argument("--scratch", type=Path, required=True, help="folder of unfinished work")
    parser.add_argument(
        "--captions", type=output_path, required=True, help="a row an image; facts come beside it"
    )
    return parser


def main(args: argparse.Namespace) -> None:
    started, total, device = time.monotonic(), count_readable([args.tar]), "cpu"
    spec = args.captioner

    def load() -> Captioner:
        nonlocal device
        if args.model is not None:
            import torch

            torch.set_num_threads(args.threads)
            device = take_device(args.gpus)
        told = spec
        if args.service:
            told = spec | {"transport": args.service | {"max_failed": args.max_failed}}
            if args.batches is not None:
                told["rejected"] = json.loads(args.batches.read_text())["rejected"]
        return load_captioner(told, model=args.model, device=device, cache=args.cache)

    # The file appears when it is whole; what is in it is written as it comes.
    without = Without(args.max_failed, total)
    with ImageReader() as reader, atomic_path(args.captions) as part:
        replies = caption_resumably(
            pictures_of(args.tar, reader),
            load,
            folder=scratch_folder(args, shaping_module(spec["kind"])),
            at_once=spec.get("batch_size"),
        )
        with (
            Progress(total, "images") as progress,
            pq.ParquetWriter(part, CAPTION_SCHEMA) as writer,
        ):
            for rows in described(replies, spec):
                writer.write_table(pa.Table.from_pylist(rows, CAPTION_SCHEMA))
                without.count(rows)
                progress.update(len(rows))
        without.check()
        seconds = time.monotonic() - started
        told = facts(args, seconds, total, device, without_caption=without.kinds)
        write_text(args.captions.with_suffix(".json"), json.dumps(told, indent=1) + "\n")


def described(
    replies: Iterator[tuple[Picture, Reply]], spec: dict[str, Any]
) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of the table, some thousand at a time."""
    rows: list[dict[str, Any]] = []
    for picture, reply in replies:
        caption, status = judge(reply)
        told = {name: getattr(reply, name) for name in CAPTION_SCHEMA.names if hasattr(reply, name)}
        rows.append(
            told
            | {
                "key": picture.key,
                "class_index": picture.class_index,
                "class_name": picture.class_name,
                "caption": caption,
                "status": status,
                "captioner": spec.get("model", spec["kind"]),
                "prompt": spec.get("prompt_name"),
            }
        )
        if len(rows) == ROWS_AT_ONCE:
            yield rows
            rows = []
    if rows:
        yield rows


class Without:
    """Counts images that are left without a caption, and lists them in the log."""

    def __init__(self, share: float, total: int) -> None:
        self.share, self.total = share, total
        self.kinds: dict[str, int] = {}

    def count(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            if row["status"] != "ok":
                kind = row["status"].split(":")[0]
                self.kinds[kind] = self.kinds.get(kind, 0) + 1
                if sum(self.kinds.values()) <= LISTED:
                    log.info("%s: %s %s", row["key"], row["status"], row["text"][:100])

    def check(self) -> None:
        """Raise UserError where there are too many."""
        found = sum(self.kinds.values())
        if found:
            log.info("without a caption: %s; the table's column `status` tells which", self.kinds)
        if found > self.share * self.total:
            kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(self.kinds.items()))
            raise UserError(
                f"{found} of {self.total} images have no caption ({kinds}), and "
                f"captioner.max_failed allows {self.share:.3g} of them; the log names them. "
                "Raise it, or change model or prompt; replies so far are kept"
            )


if __name__ == "__main__":
    run(options(), main)
