"""The images of a shard as pictures to caption, a few at a time in memory."""

import io
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from synthgap.captioners import Picture
from synthgap.data.captions import ROWS_AT_ONCE
from synthgap.data.parquet_tables import parsed, part_of, read_batches
from synthgap.data.shards import NO_IMAGE, SHARD_SCHEMA, ImageReader

COLUMNS = ["key", "class_index", "class_name", "status", "sha256", "offset", "length", "details"]


def pictures_of(tar: Path, reader: ImageReader) -> Iterator[Picture]:
    """Yield the readable images of a shard, in its order."""
    schema, beside = part_of(SHARD_SCHEMA, COLUMNS), Path(tar).with_suffix(".parquet")
    for batch in read_batches(beside, schema, "the tar's job", ROWS_AT_ONCE, NO_IMAGE):
        for row in batch.to_pylist():
            if row["status"] == "ok":
                details = parsed(beside, row["details"])
                place = row["offset"], row["length"], row["sha256"]
                read = partial(reader.read_bytes, Path(tar), *place)
                yield Picture(
                    key=row["key"],
                    class_name=row["class_name"],
                    sha256=row["sha256"],
                    read=read,
                    class_index=row["class_index"],
                    box=_box(details, read),
                    partner_class_name=details.get("partner_class_name", ""),
                )


def _box(
    details: dict[str, Any], read: Callable[[], bytes]
) -> tuple[float, float, float, float] | None:
    """Return the place of a composite's pasted image as shares of the image's sides."""
    if "box" not in details:
        return None
    top, left, height, width = details["box"]
    columns, rows = Image.open(io.BytesIO(read())).size  # reads the header only
    return top / rows, left / columns, height / rows, width / columns
