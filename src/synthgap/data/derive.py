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
    has several images of one, their keys are KEY-0, KEY-1 and so on, and `copy` in the details is
    that number.

    Args:
        spec: the view's options, for the record.
        view: from `synthgap.views.make_view`.
        batch_size: images that `view` gets at once. Memory is in proportion to it and to `threads`.
        threads: with more than one, so many decode and encode while `view` is at work.

    Returns:
        The sums of what `view` counts.

    Raises:
        UserError: an image is damaged, of another size than the first, or not fit for the view.
    """
    totals: dict[str, int] = {}
    first = _First()
    batches = ((tar, *batch) for tar in images for batch in read_shard(tar, batch_size))
    with ThreadPoolExecutor(threads) if threads > 1 else nullcontext() as pool:
        decoded = _ahead(pool, threads, _decoded, batches)
        derived = (_derive(view, first, *batch) for batch in decoded)
        encoded = _ahead(pool, threads, _encoder(shard.image_format), derived)
        for samples, result, contents in encoded:
            copies = len(contents) // len(samples)
            for place, content in enumerate(contents):
                sample, copy = samples[place // copies], place % copies
                details = sample.details | {"view": dict(spec)} | result.how
                if result.boxes is not None:
                    details |= {"of": sample.key, "crop": list(result.boxes[place])}
                key = sample.key
                if copies > 1:
                    key, details = f"{key}-{copy}", details | {"copy": copy}
                shard.add_encoded(replace(sample, key=key, details=details), content)
            for name, count in result.counts.items():
                totals[name] = totals.get(name, 0) + count
            bar.update(len(samples))
    return totals


class _First:
    """Whose size all images of a shard must have: its first one's."""

    key, shape = "", (0, 0, 0)

    def check(self, tar: Path, sample: Sample, image: Images) -> None:
        """Raises UserError when an image is of another size."""
        height, width, channels = image.shape
        if not self.key:
            self.key, self.shape = sample.key, (height, width, channels)
        if image.shape != self.shape:
            raise UserError(
                f"{tar}: {sample.key} has {width} x {height} px and {self.key} {self.shape[1]} x "
                f"{self.shape[0]}; a view needs images of one size"
            )


def _decoded(
    batch: tuple[Path, list[Sample], list[bytes]],
) -> tuple[Path, list[Sample], list[Images]]:
    tar, samples, contents = batch
    images = []
    for sample, content in zip(samples, contents, strict=True):
        try:
            images.append(decode(content))
        except (OSError, SyntaxError, ValueError) as error:
            raise UserError(
                f"{tar} is damaged: {sample.key} is no image ({error}); delete the tar and run "
                "snakemake again to make it anew"
            ) from error
    return tar, samples, images


def _derive(
    view: View, first: _First, tar: Path, samples: list[Sample], images: list[Images]
) -> tuple[list[Sample], Derived]:
    for sample, image in zip(samples, images, strict=True):  # here, where they come in order
        first.check(tar, sample, image)
    try:
        return samples, view(np.stack(images), [sample.seed for sample in samples])
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
