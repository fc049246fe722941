"""The resumable loop: prompts to images, batch by batch, each batch kept as soon as it is done."""

import io
import json
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from synthgap.atomic import read_sealed, write_sealed
from synthgap.data.images import ImageFormat, encode
from synthgap.errors import UserError
from synthgap.progress import Progress
from synthgap.seeds import derive_seed

log = logging.getLogger("synthgap")

BATCH_SCHEMA = pa.schema(
    [("status", pa.string()), ("image", pa.binary()), ("details", pa.string())]
)
# Batches that may wait to be encoded and written while the next one is generated.
WAITING = 2


class OutOfMemoryError(Exception):
    """The device has no room for a batch of this size."""


@dataclass(frozen=True)
class Batch:
    """What a model made of a batch of prompts.

    Attributes:
        pixels: uint8 RGB (n, height, width, 3).
        failures: for each image None, or why it is none.
        truncated: for each prompt, how many of its tokens were cut off, by the tokenizer of each
            text encoder that did not read it to its end.
        details: for each image what else is to be recorded of it; None where there is nothing.
    """

    pixels: NDArray[np.uint8]
    failures: list[str | None]
    truncated: list[dict[str, int]]
    details: list[dict[str, Any]] | None = None


class Model(Protocol):
    """What the loop needs of a text-to-image model."""

    made_with: dict[str, str]  # device and versions that shape an image

    def generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> Batch:
        """Return an image for each prompt; raises OutOfMemoryError."""

    def largest_batch(self, prompts: Sequence[str]) -> int:
        """Return how many of `prompts` fit in one call."""


@dataclass
class Made:
    """One finished image, or why there is none, as the shard records it.

    Attributes:
        status: "ok", or why the last attempt failed.
        details: `batch` (index of its first image in the shard), `batch_size` (images in the
            call), `attempt` (from 0), and where there are any `attempt_seed` (of a later attempt),
            `refused` (why attempts failed) and `truncated` (tokens cut from the prompt, by the
            tokenizer of each text encoder that did not read all of it); and what the model's
            `Batch.details` say.
    """

    status: str
    image: bytes | None
    details: dict[str, Any] = field(default_factory=dict)


@dataclass
class Tally:
    """What a shard's making came to, over all attempts of the job.

    Attributes:
        made_with: the devices and library versions that images were made with; a job that goes
            on elsewhere has several.
        seconds: of the device, without loading, encoding and writing.
        batch_size: the one in force at the end.
        truncated: images whose prompt was cut, by tokenizer.
    """

    made_with: list[dict[str, str]] = field(default_factory=list)
    seconds: float = 0.0
    batch_size: int = 0
    failed: int = 0
    retried: int = 0
    truncated: dict[str, int] = field(default_factory=dict)


def attempt_seed(seed: int, attempt: int) -> int:
    """Return the seed of an image's nth attempt: its own at first, then one derived from it."""
    return derive_seed(seed, "attempt", attempt) if attempt else seed


def generate_resumably(
    rows: Sequence[dict[str, Any]],
    load: Callable[[], Model],
    *,
    batch_size: int | Literal["auto"],
    size: int,
    image_format: ImageFormat,
    folder: Path,
    tally: Tally,
    attempts: int = 1,
    max_failed: int | None = None,
    workers: int = 1,
) -> Iterator[Made]:
    """Yield an image for every row, in order, generating what is not there yet.

    Batches are cut at the same places in every run, as the batch size moves an image's last
    digits: a resumed run gives the same bytes as an undisturbed one on the same kind of device.
    A batch that does not fit in memory is halved, and so are all after it. Encoding and writing
    happen beside generation; memory holds a few batches.

    Args:
        rows: each with `key`, `prompt` and `seed`.
        load: called once, and only if images are missing.
        batch_size: images a call, or `auto` for the most that fit.
        size: side in pixels of the encoded images; others are resized (bicubic, antialiased), as
            sources are only comparable, and a filter's width only means the same, at one size.
        folder: keeps finished batches between attempts of the job.
        tally: is filled in.
        attempts: tries for an image, each with a seed of its own (`attempt_seed`).
        max_failed: images that may fail; with more, the work is given up at once.
        workers: threads that encode.

    Raises:
        UserError: more than `max_failed` images failed, or not even one fits in memory.
    """
    position = 0
    while (table := _read(_batch_file(folder, position))) is not None:
        position += _count(table, tally)
        _check_failed(tally, max_failed)
    if position < len(rows):
        model = load()
        if tally.made_with and model.made_with != tally.made_with[-1]:
            log.warning("going on with %s after %s", model.made_with, tally.made_with[-1])
        with (
            Progress(len(rows), "images", done=position) as progress,
            ThreadPoolExecutor(workers) as encoders,
            ThreadPoolExecutor(1) as writer,  # one: batches appear in order, with no gaps
        ):
            waiting: deque[Future[None]] = deque()
            limit = tally.batch_size  # of an earlier attempt of the job
            if not limit and isinstance(batch_size, int):
                limit = batch_size
            elif not limit:
                limit = model.largest_batch([row["prompt"] for row in rows])
            while position < len(rows):
                batch = rows[position : position + limit]
                started = time.monotonic()
                try:
                    made, pixels = _make(model, batch, position, attempts)
                except OutOfMemoryError:
                    limit = _halved(len(batch))
                    log.info("%d images do not fit in memory; going on with %d", len(batch), limit)
                    continue
                tally.seconds += (seconds := time.monotonic() - started)
                tally.batch_size = limit
                _note(tally, model.made_with)
                _add(tally, made)
                encoded = [
                    encoders.submit(encode_image, image, size, image_format)
                    if one.status == "ok"
                    else None
                    for one, image in zip(made, pixels, strict=True)
                ]
                facts = {"seconds": seconds, "batch_size": limit, "made_with": model.made_with}
                target = _batch_file(folder, position)
                waiting.append(writer.submit(_write, target, made, encoded, facts))
                while len(waiting) > WAITING:
                    waiting.popleft().result()
                position += len(batch)
                progress.update(len(batch))
                _check_failed(tally, max_failed)
            while waiting:
                waiting.popleft().result()
    position = 0
    while position < len(rows):
        file = _batch_file(folder, position)
        if (table := _read(file)) is None:
            raise UserError(f"{file} was damaged or removed; run the same command again")
        for row in table.to_pylist():
            yield Made(**row | {"details": json.loads(row["details"])})
        position += table.num_rows


def members(rows: Sequence[dict[str, Any]], key: str) -> tuple[list[dict[str, Any]], int]:
    """Return the rows of a shard that were made in one call with `key`, and its place among them.

    Args:
        rows: of the shard's parquet, with `details` read from JSON.
    """
    wanted = next(row for row in rows if row["key"] == key)["details"]
    together = [
        row
        for row in rows
        if row["details"]["batch"] == wanted["batch"]
        and row["details"]["attempt"] >= wanted["attempt"]
    ]
    return together, [row["key"] for row in together].index(key)


def encode_image(image: NDArray[np.uint8], size: int, image_format: ImageFormat) -> bytes:
    """Return an image as the shard stores it: resized to `size` pixels where it has others."""
    if image.shape[:2] != (size, size):
        image = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))
    return encode(image, image_format)


def _make(
    model: Model, batch: Sequence[dict[str, Any]], start: int, attempts: int
) -> tuple[list[Made], list[NDArray[np.uint8]]]:
    """Generate one batch, those that failed again, and return all with their pixels."""
    made = [Made("", None, {"batch": start, "refused": []}) for _ in batch]
    pixels: list[NDArray[np.uint8]] = [np.empty(0, np.uint8)] * len(batch)
    left = list(range(len(batch)))
    for attempt in range(attempts):
        seeds = [attempt_seed(batch[i]["seed"], attempt) for i in left]
        images = model.generate([batch[i]["prompt"] for i in left], seeds)
        further = images.details or [{}] * len(left)
        for i, seed, image, failure, truncated, details in zip(
            left, seeds, images.pixels, images.failures, images.truncated, further, strict=True
        ):
            made[i].status, pixels[i] = failure or "ok", image
            made[i].details |= {"attempt": attempt, "batch_size": len(left), "truncated": truncated}
            made[i].details |= details
            if attempt:
                made[i].details["attempt_seed"] = seed
            if failure:
                log.info("%s: %s, seed %d", batch[i]["key"], failure, seed)
                made[i].details["refused"].append(failure)
        left = [i for i in left if made[i].status != "ok"]
        if not left:
            break
    for one in made:
        for name in ("refused", "truncated"):
            if not one.details[name]:
                del one.details[name]
    return made, pixels


def _write(
    file: Path,
    made: list[Made],
    encoded: Sequence[Future[bytes] | None],
    facts: dict[str, Any],
) -> None:
    for one, content in zip(made, encoded, strict=True):
        one.image = content.result() if content else None
    rows = [asdict(one) | {"details": json.dumps(one.details, sort_keys=True)} for one in made]
    schema = BATCH_SCHEMA.with_metadata({"facts": json.dumps(facts)})
    table = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema), table)
    write_sealed(file, table.getvalue())


def _read(file: Path) -> pa.Table | None:
    """Return a batch that is finished, or None where it is not there, or damaged."""
    content = read_sealed(file)
    return None if content is None else pq.read_table(pa.BufferReader(content))


def _batch_file(folder: Path, start: int) -> Path:
    return folder / f"batch-{start:08d}.sealed"


def _count(table: pa.Table, tally: Tally) -> int:
    """Add a batch of an earlier attempt to the tally and return how many images it holds."""
    table = table.select(["status", "details"])
    facts = json.loads(table.schema.metadata[b"facts"])
    tally.seconds += facts["seconds"]
    tally.batch_size = facts["batch_size"]
    _note(tally, facts["made_with"])
    rows = table.to_pylist()
    _add(tally, [Made(row["status"], None, json.loads(row["details"])) for row in rows])
    return len(rows)


def _note(tally: Tally, made_with: dict[str, str]) -> None:
    if made_with not in tally.made_with:
        tally.made_with.append(made_with)


def _add(tally: Tally, made: Sequence[Made]) -> None:
    for one in made:
        tally.failed += one.status != "ok"
        tally.retried += one.details["attempt"] > 0
        for encoder in one.details.get("truncated", {}):
            tally.truncated[encoder] = tally.truncated.get(encoder, 0) + 1


def _check_failed(tally: Tally, most: int | None) -> None:
    if most is not None and tally.failed > most:
        raise UserError(
            f"{tally.failed} images of this shard failed in every attempt, and max_failed allows "
            f"{most} a split; the log names them. Raise max_failed, or change the generator"
        )


def _halved(size: int) -> int:
    if size == 1:
        raise UserError(
            "not even one image fits in the device's memory; set `offload: model` (or "
            "`sequential`) or `vae_slicing: true` for this generator, or take a larger device"
        )
    return size // 2
