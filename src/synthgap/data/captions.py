"""Caption tables: a parquet for each shard of images, with a row for every image."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from synthgap.data.parquet_tables import read_batches

ROWS_AT_ONCE = 4096

CAPTION_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("class_index", pa.int32()),
        ("class_name", pa.string()),
        ("caption", pa.string()),  # cleaned; empty unless the status is "ok"
        ("status", pa.string()),  # "ok", "refused", "empty" or "failed: ..."
        ("text", pa.string()),  # as the model wrote it
        ("captioner", pa.string()),  # kind, or the model that was asked
        ("model", pa.string()),  # that answered, with its revision
        ("prompt", pa.string()),  # the prompt's name
        ("finish", pa.string()),  # "stop", "length", "refused" or "failed"
        ("input_tokens", pa.int32()),
        ("output_tokens", pa.int32()),
        ("cost_usd", pa.float64()),
        ("seconds", pa.float32()),
        ("attempts", pa.int32()),
    ]
)
# What captioners leave out that cannot tell.
MAY_LACK = tuple({*CAPTION_SCHEMA.names} - {"key", "caption", "status"})


def read_all(path: Path) -> Iterator[dict[str, Any]]:
    """Yield all rows of a caption table, those without a caption too, a few in memory at a time.

    Raises:
        UserError: the file is no caption table.
    """
    for batch in read_batches(path, CAPTION_SCHEMA, "`caption_images`", ROWS_AT_ONCE, MAY_LACK):
        yield from batch.to_pylist()


def read_captions(paths: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """Yield the rows that have a caption, table after table; see `read_all`."""
    for path in paths:
        yield from (row for row in read_all(path) if row["status"] == "ok")
