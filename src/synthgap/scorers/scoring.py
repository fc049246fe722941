"""Scores of many images, that survive a kill: decoded in the background, batch by batch."""

import itertools
import json
import logging
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synthgap import sealed_lines
from synthgap.devices import is_too_large
from synthgap.errors import UserError
from synthgap.scorers import Scorer
from synthgap.scorers.pairs import Pair

log = logging.getLogger("synthgap")

Image = NDArray[np.uint8]
BATCHES_AHEAD = 2


@dataclass(frozen=True)
class Scored:
    """A finished batch: its scores in the order of its pairs, and how many prompts were cut."""

    scores: list[float]
    cut: int


def score_resumably(
    pairs: Iterable[Pair], scorer: Scorer, *, folder: Path, batch_size: int, threads: int = 1
) -> Iterator[tuple[list[Pair], Scored]]:
    """Yield batches of pairs with their scores, scoring only those that are not there yet.

    Batches are cut at the same places in every run, as the pairs of a batch move each other's last
    digits: a resumed run gives the same scores as an undisturbed one.

    Args:
        folder: keeps the scores of finished batches between attempts of the job.
        batch_size: pairs a batch; in memory are some three batches of images.
        threads: that decode while the scorer is at work.

    Raises:
        UserError: a damaged image, a score that is not finite, or one image that does not fit.
    """
    journal = folder / "scores.jsonl"
    finished = _read(journal)
    if finished:
        log.info("going on after %d finished batches", len(finished))
    pairs = iter(pairs)
    batches = iter(lambda: list(itertools.islice(pairs, batch_size)), [])
    first = len(finished)
    for batch in itertools.islice(batches, first):
        yield batch, finished.popleft()
    fitting = Fitting(scorer)
    with journal.open("ab") as file, ThreadPoolExecutor(threads) as pool:
        for number, (batch, images) in enumerate(_decoded(batches, pool), first):
            cut = scorer.cut
            scores = fitting.score(images, [pair.prompt for pair in batch])
            if not np.isfinite(scores).all():
                bad = int(np.flatnonzero(~np.isfinite(scores))[0])
                raise UserError(
                    f"{batch[bad].where}: {scorer.metric} of {batch[bad].key} is {scores[bad]}; "
                    "try another dtype"
                )
            scored = Scored([float(score) for score in scores], scorer.cut - cut)
            told = json.dumps([number, scored.scores, scored.cut])
            file.write(sealed_lines.seal(told.encode()))
            file.flush()
            os.fsync(file.fileno())
            yield batch, scored


class Fitting:
    """Calls a scorer with as many pairs as fit on its device."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        self.most: int | None = None

    def score(self, images: Sequence[Image], prompts: Sequence[str]) -> NDArray[np.float32]:
        """Return scores (N,), halving the number of pairs a call, for good, where it must.

        Raises:
            UserError: not even one pair fits.
        """
        found: list[NDArray[np.float32]] = []
        start = 0
        while start < len(images):
            part = slice(start, start + (self.most or len(images)))
            scores = self._try(images[part], prompts[part])
            # Out here no traceback holds on to tensors any more.
            if scores is None:
                self._halve(len(images[part]))
            else:
                found.append(scores)
                start += len(scores)
        return np.concatenate(found)

    def _try(self, images: Sequence[Image], prompts: Sequence[str]) -> NDArray[np.float32] | None:
        try:
            return self.scorer.score(images, prompts)
        except RuntimeError as error:
            if not is_too_large(error):
                raise
            return None

    def _halve(self, tried: int) -> None:
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if tried == 1:
            raise UserError(
                f"{self.scorer.metric}: not even one image fits in the device's memory; take a "
                "larger device or dtype bfloat16"
            )
        self.most = tried // 2
        log.info("%d images do not fit in memory; going on with %d", tried, self.most)


def _decoded(
    batches: Iterable[list[Pair]], pool: ThreadPoolExecutor
) -> Iterator[tuple[list[Pair], list[Image]]]:
    """Yield batches with their images, decoded some batches ahead."""
    waiting: deque[tuple[list[Pair], list[Future[Image]]]] = deque()
    for batch in batches:
        waiting.append((batch, [pool.submit(pair.pixels) for pair in batch]))
        if len(waiting) > BATCHES_AHEAD:
            yield _done(waiting.popleft())
    while waiting:
        yield _done(waiting.popleft())


def _done(waiting: tuple[list[Pair], list[Future[Image]]]) -> tuple[list[Pair], list[Image]]:
    batch, futures = waiting
    return batch, [future.result() for future in futures]


def _read(journal: Path) -> deque[Scored]:
    """Return the finished batches of earlier attempts, up to the first that is missing."""
    told = (json.loads(content) for _, content in sealed_lines.read(journal))
    by_number = {number: Scored(scores, cut) for number, scores, cut in told}
    return deque(
        by_number[number]
        for number in itertools.takewhile(by_number.__contains__, itertools.count())
    )
