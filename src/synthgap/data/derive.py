"""A view of a whole shard: read, decode, derive, encode and write, a batch at a time."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from synthgap.data.images import ImageFormat, decode, encode
from synthgap.data.shards import Sample, ShardWriter, read_shard
from synthgap.errors import UserError
from synthgap.progress import Progress
from synthgap.views.derived import Derived, Images, View

A = TypeVar("A")
B = TypeVar("B")


def derive_shard(
    images: Sequence[Path],
    shard: ShardWriter,
    spec: Mapping[str, Any],
    view: View,
    bar: Progress,
    *,
    batch_size: int = 32,
    threads: int = 1,
) -> dict[str, int]:
    """Write the view of every readable image of the shards `images` to `shard`.

    A sample keeps its class, prompt, seed and details; those of the view are added. Where a view
    has several images of one, their keys are KEY-0, KEY-1 and so on.

    Args:
        spec: the view's options, for the record.
        view: from `synthgap.views.make_view`.
        batch_size: images that `view` gets at once. Memory is in proportion to it and to `threads`.
        threads: with more than one, that many decode and as many encode while `view` is at work.

    Returns:
        The sums of what `view` counts.

    Raises:
        UserError: an image is damaged, of another size than the first, or not fit for the view.
    """
    totals: dict[str, int] = {}
    reader = _Reader()
    batches = ((tar, *batch) for tar in images for batch in read_shard(tar, batch_size))
    with ThreadPoolExecutor(threads) if threads > 1 else nullcontext() as pool:
        decoded = _ahead(pool, threads, reader.decoded, batches)
        derived = (_derive(view, *batch) for batch in decoded)
        encoded = _ahead(pool, threads, _encoder(shard.image_format), derived)
        for samples, result, contents in encoded:
            copies = len(contents) // len(samples)
            for place, content in enumerate(contents):
                sample, copy = samples[place // copies], place % copies
                details = sample.details | {"view": dict(spec)} | result.how
                if result.boxes is not None:
                    details |= {"of": sample.key, "crop": list(result.boxes[place])}
                key = f"{sample.key}-{copy}" if copies > 1 else sample.key
                shard.add_encoded(replace(sample, key=key, details=details), content)
            for name, count in result.counts.items():
                totals[name] = totals.get(name, 0) + count
            bar.update(len(samples))
    return totals


class _Reader:
    """Decodes batches, whose images have to be of the first one's size."""

    def __init__(self) -> None:
        self.first: tuple[str, tuple[int, ...]] | None = None

    def decoded(
        self, batch: tuple[Path, list[Sample], list[bytes]]
    ) -> tuple[Path, list[Sample], Images]:
        tar, samples, contents = batch
        images = []
        for sample, content in zip(samples, contents, strict=True):
            try:
                image = decode(content)
            except (OSError, SyntaxError, ValueError) as error:
                raise UserError(
                    f"{tar} is damaged: {sample.key} is no image ({error}); delete the tar "
                    "and run snakemake again to make it anew"
                ) from error
            self.first = self.first or (sample.key, image.shape)
            if image.shape != self.first[1]:
                key, (height, width, _) = self.first
                raise UserError(
                    f"{tar}: {sample.key} has {image.shape[1]} x {image.shape[0]} px and "
                    f"{key} {width} x {height}; a view needs images of one size"
                )
            images.append(image)
        return tar, samples, np.stack(images)


def _derive(
    view: View, tar: Path, samples: list[Sample], images: Images
) -> tuple[list[Sample], Derived]:
    try:
        return samples, view(images, [sample.seed for sample in samples])
    except UserError as error:
        raise UserError(f"{tar}: {error}") from error


def _encoder(
    image_format: ImageFormat,
) -> Callable[[tuple[list[Sample], Derived]], tuple[list[Sample], Derived, list[bytes]]]:
    def encoded(batch: tuple[list[Sample], Derived]) -> tuple[list[Sample], Derived, list[bytes]]:
        samples, derived = batch
        return samples, derived, [encode(image, image_format) for image in derived.images]

    return encoded


def _ahead(
    pool: ThreadPoolExecutor | None, most: int, work: Callable[[A], B], items: Iterable[A]
) -> Iterator[B]:
    """Yield `work(item)` in order; with a pool, up to `most` items ahead of what is asked for."""
    if pool is None:
        yield from map(work, items)
        return
    waiting: deque[Future[B]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) > most:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
