"""The resumable loop: prompts to images, batch by batch, each batch kept as soon as it is done."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from synthgap.atomic import atomic_path
from synthgap.data.images import ImageFormat, encode
from synthgap.progress import Progress

BATCH_SCHEMA = pa.schema([("status", pa.string()), ("image", pa.binary())])

Generate = Callable[[Sequence[str], Sequence[int]], NDArray[np.float32]]


def generate_resumably(
    rows: Sequence[dict[str, Any]],
    generate: Callable[[], Generate],
    *,
    batch_size: int,
    size: int,
    image_format: ImageFormat,
    folder: Path,
) -> Iterator[tuple[str, bytes | None]]:
    """Yield (status, encoded image) for every row, in order, generating what is not there yet.

    Batches are cut at the same places in every attempt, as the batch size moves an image's last
    digits; so a resumed run gives the same bytes as an undisturbed one. Memory holds one batch.

    Args:
        rows: each with `prompt` and `seed`.
        generate: called once, and only if images are missing, to load the model.
        size: side in pixels of the encoded images; others are resized (bicubic, antialiased), as
            sources are only comparable, and a filter's width only means the same, at one size.
        folder: keeps finished batches between attempts.
    """
    starts = range(0, len(rows), batch_size)
    files = [folder / f"batch-{start:08d}.parquet" for start in starts]
    missing = [
        (start, file) for start, file in zip(starts, files, strict=True) if not file.exists()
    ]
    with Progress(len(files), "batches", done=len(files) - len(missing)) as progress:
        model = generate() if missing else None
        for start, file in missing:
            assert model is not None
            batch = rows[start : start + batch_size]
            images = model([row["prompt"] for row in batch], [row["seed"] for row in batch])
            finished = [_finish(image, size, image_format) for image in images]
            with atomic_path(file) as part:
                pq.write_table(pa.Table.from_pylist(finished, BATCH_SCHEMA), part)
            progress.update()
    for file in files:
        for row in pq.read_table(file).to_pylist():
            yield row["status"], row["image"]


def _finish(image: NDArray[np.float32], size: int, image_format: ImageFormat) -> dict[str, Any]:
    if not np.isfinite(image).all():
        return {
            "status": "no image: sampling diverged, or a safety checker refused it",
            "image": None,
        }
    pixels = np.round(image * 255).clip(0, 255).astype(np.uint8)
    if pixels.shape[:2] != (size, size):
        resized = Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC)
        pixels = np.asarray(resized)
    return {"status": "ok", "image": encode(pixels, image_format)}
