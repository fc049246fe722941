"""Precision, recall, density and coverage from nearest neighbours, exactly and in bounded memory.

Source: Naeem et al., Reliable Fidelity and Diversity Metrics for Generative Models (ICML 2020),
and its reference implementation, the package `prdc`. Precision and recall are those of
Kynkäänniemi et al. (NeurIPS 2019). Paper A, section 3.3 and figure 5, uses density and coverage.

A ball lies around each point; its radius is the distance to the k-th nearest other point of the
same set. Another point is inside when its distance is strictly smaller.

Exactness. The fast form of a squared distance, |a|^2 + |b|^2 - 2ab, loses digits to cancellation
and its rounding depends on the matrix product's blocking, so ties (duplicated images) would fall
either way. Here it only gives a lower and an upper bound; whatever the bounds leave open is
decided by the plain sum of squared differences. Results depend neither on the block size nor on
the linear algebra library.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from synthgap.errors import UserError
from synthgap.metrics.intervals import bootstrap_mean

Distance = Literal["euclidean", "cosine"]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Candidates kept beyond the k + 1 nearest, so that near ties seldom need a full second look.
_SPARE = 8
_PAIRS_AT_ONCE = 8192


@dataclass(frozen=True)
class PRDC:
    """The four metrics item by item: n real points, m generated ("fake") points."""

    k: int
    fake_in_real: NDArray[np.int64]
    """(m,) in how many real balls each fake point lies, 0..n"""
    fake_is_precise: Bools
    """(m,) whether it lies in any real ball"""
    real_is_recalled: Bools
    """(n,) whether the real point lies in any fake ball"""
    real_is_covered: Bools
    """(n,) whether any fake point lies in the real point's own ball"""

    @property
    def precision(self) -> float:
        """Share of fake points in the real manifold, 0..1."""
        return float(self.fake_is_precise.mean())

    @property
    def recall(self) -> float:
        """Share of real points in the fake manifold, 0..1."""
        return float(self.real_is_recalled.mean())

    @property
    def density(self) -> float:
        """Mean number of real balls around a fake point, divided by k; can exceed 1."""
        return float(self.fake_in_real.mean() / self.k)

    @property
    def coverage(self) -> float:
        """Share of real points with a fake point in their ball, 0..1."""
        return float(self.real_is_covered.mean())


class Measure(NamedTuple):
    """One metric with its interval; NaN limits where the data give none."""

    metric: str
    value: float
    low: float
    high: float
    n: int


def prdc(
    real: NDArray[Any],
    fake: NDArray[Any],
    *,
    k: int = 5,
    distance: Distance = "euclidean",
    block: int = 1024,
) -> PRDC:
    """Precision, recall, density and coverage of `fake` with respect to `real`.

    Memory: both sets in float64, a few (block, block) tiles and (block, k + 9, d) candidates.
    Time: O((n + m)^2 d), in matrix products.

    Args:
        real: (n, d) features of real images, any numeric type.
        fake: (m, d) features of generated images.
        k: which neighbour sets the radius, not counting the point itself; the field uses 5.
        distance: "cosine" is 1 - cos; it orders pairs as the Euclidean distance between rows of
            unit length does, which is how it is computed. Paper A's public code uses it.
        block: rows per tile; changes memory and speed, never the result.

    Raises:
        UserError: k or block below 1, an unknown distance, a set with k rows or fewer, different
            widths, values that are not finite (or too large to square), a zero row under "cosine".
    """
    if k < 1 or block < 1:
        raise UserError(f"prdc: k and block must be at least 1: k={k}, block={block}")
    if distance not in get_args(Distance):
        raise UserError(f"prdc: unknown distance {distance!r}; choose from {get_args(Distance)}")
    real = _checked("real", real, k, distance)
    fake = _checked("generated", fake, k, distance)
    if real.shape[1] != fake.shape[1]:
        raise UserError(
            f"prdc: real features have {real.shape[1]} columns and generated {fake.shape[1]}; "
            "both must come from the same encoder"
        )

    centre = real.mean(axis=0)  # distances do not change, but the bounds become tighter
    real_radii = _squared_radii(real, k, centre, block)
    fake_radii = _squared_radii(fake, k, centre, block)

    fake_in_real = np.zeros(len(fake), dtype=np.int64)
    recalled = np.zeros(len(real), dtype=np.bool_)
    covered = np.zeros(len(real), dtype=np.bool_)
    for rows in _slices(len(real), block):
        for columns in _slices(len(fake), block):
            a, b = real[rows], fake[columns]
            lower, upper = _bounds(a, b, centre)
            in_real_ball = _inside(a, b, lower, upper, real_radii[rows, None])
            in_fake_ball = _inside(a, b, lower, upper, fake_radii[None, columns])
            fake_in_real[columns] += in_real_ball.sum(axis=0)
            covered[rows] |= in_real_ball.any(axis=1)
            recalled[rows] |= in_fake_ball.any(axis=1)
    return PRDC(k, fake_in_real, fake_in_real > 0, recalled, covered)


def measure(
    real: NDArray[Any],
    fake: NDArray[Any],
    *,
    k: int = 5,
    distance: Distance = "euclidean",
    block: int = 1024,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> list[Measure]:
    """The four metrics with intervals, named with their variant: `density_k5_euclidean`.

    Each is a mean over the items of one set (density and precision: generated; recall and
    coverage: real), and its interval is the percentile bootstrap of these per-item values, with
    all balls and the other set held fixed. Resampling both sets and searching neighbours anew
    would be biased: a bootstrap sample repeats about 37 % of its points at distance zero, so
    k-th-neighbour radii shrink and every metric falls, by more than its own spread. The interval
    hence speaks of the items averaged over, not of another draw of the set held fixed.

    Arguments and errors are those of `prdc` and `bootstrap_mean`.
    """
    result = prdc(real, fake, k=k, distance=distance, block=block)
    items: dict[str, NDArray[Any]] = {
        "precision": result.fake_is_precise,
        "recall": result.real_is_recalled,
        "density": result.fake_in_real / k,
        "coverage": result.real_is_covered,
    }
    return [
        Measure(
            f"{name}_k{k}_{distance}",
            *bootstrap_mean(values, level=level, resamples=resamples, seed=seed),
            len(values),
        )
        for name, values in items.items()
    ]


def _checked(name: str, points: NDArray[Any], k: int, distance: Distance) -> Floats:
    """(n, d) float64 rows, of unit length for the cosine distance."""
    points = np.asarray(points)
    if points.ndim != 2 or points.shape[1] == 0 or points.dtype.kind not in "fiub":
        raise UserError(
            f"prdc: {name} features must be a numeric (rows, columns) matrix, "
            f"got {points.dtype} of shape {points.shape}"
        )
    if len(points) <= k:
        raise UserError(f"prdc: k={k} needs at least {k + 1} {name} rows, got {len(points)}")
    points = np.ascontiguousarray(points, dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.square(points).sum(axis=1)
    if not np.isfinite(squares).all():
        bad = int(np.flatnonzero(~np.isfinite(squares))[0])
        raise UserError(f"prdc: {name} features are not finite or too large to square (row {bad})")
    if distance == "euclidean":
        return points
    if not squares.all():
        bad = int(np.flatnonzero(squares == 0)[0])
        raise UserError(f"prdc: {name} row {bad} is zero and has no cosine distance")
    unit: Floats = points / np.sqrt(squares)[:, None]
    return unit


def _squared_radii(points: Floats, k: int, centre: Floats, block: int) -> Floats:
    """(n,) squared distance to the k-th nearest other row: the (k+1)-th smallest, self included."""
    n = len(points)
    keep = min(n, k + 1 + _SPARE)
    radii = np.empty(n)
    for rows in _slices(n, block):
        a = points[rows]
        # Per row, the `keep` columns with the smallest lower bounds seen so far.
        best = np.full((len(a), keep), np.inf)
        index = np.zeros((len(a), keep), dtype=np.int64)
        for columns in _slices(n, block):
            lower, _ = _bounds(a, points[columns], centre)
            here = np.broadcast_to(np.arange(columns.start, columns.stop), lower.shape)
            best, index = np.hstack([best, lower]), np.hstack([index, here])
            pick = np.argpartition(best, keep - 1, axis=1)[:, :keep]
            best = np.take_along_axis(best, pick, axis=1)
            index = np.take_along_axis(index, pick, axis=1)

        kth = np.partition(_squared(a[:, None], points[index]), k, axis=1)[:, k]
        # No column left out lies below the largest lower bound kept. Where the k-th distance does
        # not exceed that (or is zero), it is proven; elsewhere look at every column.
        proven = (kth <= best.max(axis=1)) | (kth == 0) | (keep == n)
        for row in np.flatnonzero(~proven):
            every = [_squared(a[row], points[columns]) for columns in _slices(n, block)]
            kth[row] = np.partition(np.concatenate(every), k)[k]
        radii[rows] = kth
    return radii


def _bounds(a: Floats, b: Floats, centre: Floats) -> tuple[Floats, Floats]:
    """Lower and upper bounds, each (len(a), len(b)), of what `_squared` gives for every pair.

    A dot product of d terms in any order errs by at most d eps / 2 of the sum of its terms'
    magnitudes (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1). The factor
    below is twice what this, the centring and the rounding of `_squared` itself add up to.
    """
    a, b = a - centre, b - centre
    scale = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1)[None, :]
    middle = scale - 2 * (a @ b.T)
    scale *= 4 * (a.shape[1] + 8) * np.finfo(np.float64).eps
    return middle - scale, middle + scale


def _inside(a: Floats, b: Floats, lower: Floats, upper: Floats, radii: Floats) -> Bools:
    """(len(a), len(b)) whether the squared distance is strictly below the squared radius."""
    inside: Bools = upper < radii
    first, second = np.nonzero((lower < radii) & ~inside)
    radii = np.broadcast_to(radii, inside.shape)
    for pairs in _slices(len(first), _PAIRS_AT_ONCE):
        i, j = first[pairs], second[pairs]
        inside[i, j] = _squared(a[i], b[j]) < radii[i, j]
    return inside


def _squared(a: Floats, b: Floats) -> Floats:
    """Squared distances along the last axis: symmetric, and exactly zero for equal rows."""
    squares: Floats = np.square(a - b).sum(axis=-1)
    return squares


def _slices(n: int, block: int) -> Iterator[slice]:
    for start in range(0, n, block):
        yield slice(start, min(start + block, n))
