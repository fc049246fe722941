"""Caption tables: a parquet beside nothing else, a row for every image of a shard."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from synthgap.errors import UserError

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


def read_captions(paths: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """Yield the rows that have a caption, shard after shard.

    Raises:
        UserError: a file is no caption table.
    """
    for path in paths:
        file = pq.ParquetFile(path)
        if not file.schema_arrow.equals(CAPTION_SCHEMA):
            raise UserError(f"{path} is no caption table; `caption_images` makes such a file")
        for batch in file.iter_batches():
            yield from (row for row in batch.to_pylist() if row["status"] == "ok")
