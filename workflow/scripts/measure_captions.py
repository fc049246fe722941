"""Measure the captions of real images, and how much of them the target text encoders cut.

Also draws a random sample of images with their captions, for the report: the images whose key
comes first in the order of a hash, so the shards do not matter.
"""

import argparse
import heapq
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from synthgap.atomic import atomic_path
from synthgap.data.captions import ROWS_AT_ONCE, read_all
from synthgap.data.parquet_tables import count_rows
from synthgap.data.shards import ImageReader, read_rows
from synthgap.errors import UserError
from synthgap.job import command, input_path, log, output_path, run
from synthgap.metrics.captions import STUDY, CaptionTally, Measure, measure_truncation
from synthgap.metrics.table import Row, to_table
from synthgap.progress import Progress
from synthgap.seeds import derive_seed

SAMPLE_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("class_name", pa.string()),
        ("caption", pa.string()),
        ("status", pa.string()),
        ("image", pa.binary()),  # encoded as in its shard
    ]
)


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--captions", type=input_path, nargs="+", required=True, help="parquets")
    parser.add_argument("--images", type=input_path, nargs="+", required=True, help="their shards")
    parser.add_argument("--sources", nargs="*", default=[], help="whose prompts are captions")
    parser.add_argument("--manifests", type=input_path, nargs="*", default=[], help="of these")
    parser.add_argument("--samples", type=int, required=True, help="images to show")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--metrics", type=output_path, required=True)
    parser.add_argument("--sample", type=output_path, required=True)
    return parser


def main(args: argparse.Namespace) -> None:
    if len(args.captions) != len(args.images) or len(args.sources) != len(args.manifests):
        raise UserError("name one shard of images a caption table, and one manifest a source")
    if args.samples < 1:
        raise UserError(f"--samples must be at least 1: {args.samples}")
    tally = CaptionTally()
    shown = heapq.nsmallest(
        args.samples,
        counted(args.captions, args.images, tally),
        key=lambda row: (derive_seed(args.seed, "sample of captions", row["key"]), row["key"]),
    )
    found = [described(measure, "real") for measure in tally.measure(seed=args.seed)]
    for source, manifest in zip(args.sources, args.manifests, strict=True):
        cut = measure_truncation(read_truncated(manifest), seed=args.seed)
        found += [described(measure, source) for measure in cut]
    with atomic_path(args.sample) as part:
        pq.write_table(pa.Table.from_pylist(with_images(shown), SAMPLE_SCHEMA), part)
    with atomic_path(args.metrics) as part:
        pq.write_table(to_table(found), part)
    log.info("%d images, %d of them with a caption", tally.images, tally.statuses["ok"])


def counted(
    captions: list[Path], images: list[Path], tally: CaptionTally
) -> Iterator[dict[str, Any]]:
    """Count all rows, those without a caption too, and yield them with their shard as `tar`."""
    total = sum(count_rows(path, "caption_images") for path in captions)
    with Progress(total, "captions") as progress:
        for path, tar in zip(captions, images, strict=True):
            for row in read_all(path):
                tally.add(row)
                yield row | {"tar": tar}
                progress.update()


def read_truncated(manifest: Path) -> Iterator[tuple[str, dict[str, int]]]:
    """Yield the prompt of each image, and the tokens cut from it by tokenizer."""
    for batch in pq.ParquetFile(manifest).iter_batches(ROWS_AT_ONCE, columns=["prompt", "details"]):
        for row in batch.to_pylist():
            details = row["details"] if '"truncated"' in row["details"] else "{}"
            yield row["prompt"], json.loads(details).get("truncated", {})


def with_images(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows with the encoded images that they are about."""
    places = {
        (tar, row["key"]): row
        for tar in {row["tar"] for row in rows}
        for row in read_rows(tar).select(["key", "offset", "length", "sha256"]).to_pylist()
    }
    found = []
    with ImageReader() as reader:
        for row in rows:
            place = places.get((row["tar"], row["key"]))
            if place is None:
                raise UserError(f"{row['tar']} has no image {row['key']}, which has a caption")
            image = reader.read_bytes(row["tar"], place["offset"], place["length"], place["sha256"])
            found.append({name: row.get(name) for name in SAMPLE_SCHEMA.names} | {"image": image})
    return found


def described(measure: Measure, source: str) -> Row:
    return Row(
        study=STUDY,
        metric=measure.metric,
        value=measure.interval.value,
        ci_low=measure.interval.low,
        ci_high=measure.interval.high,
        n=measure.n,
        test_source=source,
        view="rgb",
        settings=measure.settings,
    )


if __name__ == "__main__":
    run(options(), main)
