"""Compose one shard of CutMix images from real training images (paper B, appendix E)."""

import argparse
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from synthgap.composites import choose_partner, choose_pattern, cutmix
from synthgap.data.shards import ImageReader, Sample, ShardWriter
from synthgap.data.slices import shard_slice
from synthgap.errors import UserError
from synthgap.job import command, facts, input_path, output_path, run
from synthgap.progress import Progress
from synthgap.seeds import derive_seed

COLUMNS = ["key", "class_index", "class_name", "shard", "offset", "length", "sha256"]
# A manifest may have millions of rows; so many at a time are Python objects.
ROWS_AT_ONCE = 256

Row = dict[str, Any]


class Made(NamedTuple):
    """What the statistics need to know of a composite."""

    pattern: str
    box: tuple[int, int, int, int]  # top, left, height, width in pixels
    size: tuple[int, int]  # height, width of the image in pixels
    classes: tuple[int, int]  # of base and partner


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
    table = pq.read_table(args.manifest, columns=COLUMNS).combine_chunks()
    classes = table["class_index"].to_numpy()
    if len(np.unique(classes)) < 2:
        raise UserError(
            f"{args.manifest}: CutMix needs images of two classes or more; add a class, or take "
            "`composites` out of the config"
        )
    # Turns within a class, so that the pattern says nothing of the class.
    turns = turns_within_class(classes)
    positions = range(table.num_rows)[shard_slice(table.num_rows, args.shard, args.shards)]
    made: list[Made] = []
    with (
        ImageReader() as reader,
        ShardWriter(args.tar, args.image_format) as shard,
        Progress(len(positions), "images") as bar,
    ):
        for position, row, partner, seed in pairs(table, classes, positions, args):
            base_image, partner_image = (
                reader.read_image(
                    args.manifest.parent / r["shard"], r["offset"], r["length"], r["sha256"]
                )
                for r in (row, partner)
            )
            pattern = choose_pattern(args.pattern, int(turns[position]))
            try:
                image, box = cutmix(base_image, partner_image, pattern, np.random.default_rng(seed))
            except UserError as error:
                raise UserError(
                    f"{args.manifest}: {row['key']} with {partner['key']}: {error}"
                ) from error
            details = {
                "pattern": pattern,
                "box": [int(side) for side in box],  # top, left, height, width of the partner
                "base_key": row["key"],
                "partner_key": partner["key"],
                "partner_class_index": partner["class_index"],
                "partner_class_name": partner["class_name"],
            }
            sample = Sample(row["key"], row["class_index"], row["class_name"], "", seed, details)
            shard.add(sample, image)
            classes_of = (row["class_index"], partner["class_index"])
            made.append(Made(pattern, box, image.shape[:2], classes_of))
            bar.update()
        shard.facts = facts(
            args, time.monotonic() - started, len(positions), patterns=by_pattern(made)
        )


def pairs(
    table: pa.Table, classes: NDArray[np.integer], positions: range, args: argparse.Namespace
) -> Iterator[tuple[int, Row, Row, int]]:
    """Yield position, row, partner's row and seed of each composite."""
    name = f"cutmix-{args.pattern}"
    for start in range(0, len(positions), ROWS_AT_ONCE):
        part = positions[start : start + ROWS_AT_ONCE]
        rows = table.slice(part.start, len(part)).to_pylist()
        seeds = [
            derive_seed(args.seed, name, row["class_name"], position)
            for position, row in zip(part, rows, strict=True)
        ]
        partners = [
            choose_partner(classes, position, derive_seed(seed, "partner"))
            for position, seed in zip(part, seeds, strict=True)
        ]
        yield from zip(part, rows, table.take(partners).to_pylist(), seeds, strict=True)


def turns_within_class(classes: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return each sample's rank within its class, shifted by the class; shape (n,)."""
    order = np.argsort(classes, kind="stable")
    ordered = classes[order]
    turns = np.empty(len(classes), np.int64)
    turns[order] = np.arange(len(classes)) - np.searchsorted(ordered, ordered) + ordered
    return turns


def by_pattern(made: Sequence[Made]) -> dict[str, dict[str, float]]:
    """Return the statistics of each pattern.

    `images`; `coverage`, the mean share of the pixels that are the partner's; `top` and `left`,
    the mean place of the box as a share of the side; `class_pairs`, the number of distinct pairs
    of a base's and a partner's class, in this order.
    """
    statistics: dict[str, dict[str, float]] = {}
    for pattern in sorted({one.pattern for one in made}):
        ours = [one for one in made if one.pattern == pattern]
        top, left, box_height, box_width = np.asarray([one.box for one in ours]).T
        height, width = np.asarray([one.size for one in ours]).T
        shares = {
            "coverage": box_height * box_width / (height * width),
            "top": top / height,
            "left": left / width,
        }
        statistics[pattern] = {
            "images": len(ours),
            **{name: round(float(share.mean()), 6) for name, share in shares.items()},
            "class_pairs": len({one.classes for one in ours}),
        }
    return statistics


if __name__ == "__main__":
    run(options(), main)
