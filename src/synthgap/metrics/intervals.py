"""Confidence intervals: the percentile bootstrap over items or seeds, Wilson, and the jackknife.

Resampling n items with replacement draws multinomial counts over the *distinct* values. Accuracy
has two of them and a neighbour count a few dozen, so 2 000 resamples of 100 000 items take
milliseconds; the interval does not depend on the order of the items.

Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), section 13.3;
E. B. Wilson, Probable inference (JASA 1927).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from synthgap.errors import UserError

# At most this many multinomial counts are held at once (32 MB).
_COUNTS_AT_ONCE = 4_000_000


class Interval(NamedTuple):
    """An estimate and its confidence limits, in the unit of the values.

    `low` and `high` are NaN where the data tell nothing of their own spread.
    """

    value: float
    low: float
    high: float


def wilson(successes: float, n: int, level: float = 0.95) -> Interval:
    """Wilson's score interval of a proportion, in 0..1.

    Unlike the bootstrap it has a width at 0 and at n successes: with none of n, the upper limit is
    z^2 / (n + z^2), about 3.8 / n at 95 %, close to the exact (Clopper-Pearson) 3.7 / n.

    Args:
        successes: a mean over several classifiers of the same n images may be a fraction.

    Raises:
        UserError: n < 1, successes outside 0..n, or level outside (0, 1).

    Examples:
        >>> value, low, high = wilson(0, 50)
        >>> value, low, round(high, 3)
        (0.0, 0.0, 0.071)
    """
    _check_level(level)
    if n < 1 or not 0 <= successes <= n:
        raise UserError(f"wilson: successes must lie in 0..n and n be positive: {successes} of {n}")
    z2 = NormalDist().inv_cdf(0.5 + level / 2) ** 2
    p = successes / n
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    # At the ends the limit is p itself; the formula only reaches it up to rounding.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return Interval(p, low, high)


def bootstrap_mean(
    values: NDArray[Any],
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Mean of independent items with its percentile bootstrap interval.

    Where all items are equal the bootstrap has no width, which would claim certainty. Then:

    - boolean values are a proportion, and get Wilson's interval instead;
    - any other values, and a single one, say nothing of their spread: both limits are NaN.

    Args:
        values: (n,) booleans or finite numbers, one per item.
        level: confidence level in (0, 1).
        resamples: bootstrap samples, at least 2.
        seed: of the resampling; the same arguments give the same interval.

    Raises:
        UserError: no values, not one-dimensional, not finite, or a bad level or count.

    Examples:
        >>> correct = np.array([True] * 90 + [False] * 10)
        >>> value, low, high = bootstrap_mean(correct)
        >>> f"{value:.2f} [{low:.2f}, {high:.2f}]"
        '0.90 [0.84, 0.96]'
    """
    _check_level(level)
    _check_resamples(resamples)
    values = np.asarray(values)
    if values.ndim != 1 or values.size == 0:
        raise UserError(f"bootstrap: expected a non-empty vector, got shape {values.shape}")
    is_proportion = values.dtype == np.bool_
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise UserError("bootstrap: the values hold NaN or infinity")

    n = len(values)
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) == 1:
        value = float(distinct[0])
        if is_proportion:
            return wilson(n if value else 0, n, level)
        return Interval(value, math.nan, math.nan)
    rng = np.random.default_rng(seed)
    means = np.concatenate(
        [drawn @ distinct / n for drawn in _resampled_counts(rng, counts, resamples)]
    )
    return Interval(float(values.mean()), *_percentiles(means, level))


def bootstrap_accuracy_over_seeds(
    correct: NDArray[Any],
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Mean accuracy over training seeds with a hierarchical percentile bootstrap.

    Every resample draws training seeds and test images, both with replacement, and uses the same
    drawn images for every drawn seed: all seeds are tested on the same images, so their mistakes
    are correlated and the seeds do not multiply the test set.

    With one seed only the images are drawn, and the interval says nothing of training noise. With
    few seeds it says too little: resampling S seeds shows (S - 1) / S of their variance. All or
    none correct gives Wilson's interval for the number of *images* (see `bootstrap_mean`).

    Args:
        correct: (seeds, images): was image j classified correctly with seed i, as booleans; or
            the share, in 0..1, of image j's crops that were.
        level, resamples, seed: as for `bootstrap_mean`.

    Returns:
        Accuracy in 0..1.

    Raises:
        UserError: not a non-empty matrix of booleans or shares, or a bad level or count.

    Examples:
        >>> correct = np.random.default_rng(0).random((3, 200)) < 0.8  # three trainings
        >>> value, low, high = bootstrap_accuracy_over_seeds(correct)
        >>> f"{value:.2f} [{low:.2f}, {high:.2f}]"
        '0.78 [0.71, 0.83]'
    """
    _check_level(level)
    _check_resamples(resamples)
    correct = np.asarray(correct)
    if correct.dtype not in (np.bool_, np.float64) or correct.ndim != 2 or correct.size == 0:
        raise UserError(
            "bootstrap over seeds: expected booleans or shares of shape (seeds, images), "
            f"got {correct.dtype} of shape {correct.shape}"
        )
    if not ((correct >= 0) & (correct <= 1)).all():
        raise UserError("bootstrap over seeds: shares must lie in 0..1")
    images = correct.shape[1]
    value = float(correct.mean())
    if value in (0.0, 1.0):
        return wilson(images if value else 0, images, level)
    return bootstrap_mean_over_seeds(correct, level=level, resamples=resamples, seed=seed)


def bootstrap_mean_over_seeds(
    values: NDArray[Any],
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Mean over seeds and images with a hierarchical percentile bootstrap.

    As `bootstrap_accuracy_over_seeds`, for any finite numbers: where all are equal, both limits
    are NaN.

    Args:
        values: (seeds, images).
        level, resamples, seed: as for `bootstrap_mean`.

    Raises:
        UserError: not a non-empty matrix of finite numbers, or a bad level or count.
    """
    _check_level(level)
    _check_resamples(resamples)
    values = np.asarray(values)
    if values.ndim != 2 or values.size == 0 or not np.isfinite(values).all():
        raise UserError(
            f"bootstrap over seeds: expected finite numbers (seeds, images), got {values.shape}"
        )
    seeds, images = values.shape
    if seeds == 1:
        return bootstrap_mean(values[0], level=level, resamples=resamples, seed=seed)
    if (values == values.flat[0]).all():
        return Interval(float(values.flat[0]), math.nan, math.nan)

    # Images that all seeds agree on in the same way are alike; of booleans, at most 2^seeds kinds.
    kinds, counts = np.unique(values, axis=1, return_counts=True)
    rng = np.random.default_rng(seed)
    drawn_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples)
    means = []
    start = 0
    for drawn in _resampled_counts(rng, counts, resamples):
        per_kind = drawn_seeds[start : start + len(drawn)] @ kinds.astype(np.float64)
        means.append((per_kind * drawn).sum(axis=1) / (seeds * images))
        start += len(drawn)
    return Interval(float(values.mean()), *_percentiles(np.concatenate(means), level))


class Comparison(NamedTuple):
    """How one accuracy compares with a reference."""

    difference: Interval
    """reference minus accuracy"""
    ratio: Interval
    """accuracy over reference"""


def bootstrap_comparison(
    correct: NDArray[Any],
    reference: NDArray[Any],
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compare two groups of classifiers on the same images, by a hierarchical percentile bootstrap.

    Every resample draws images once for both sides, as an image that is hard for one is often hard
    for the other, and training seeds of each side by themselves. With one seed on a side, its
    training noise is not in the interval; with few it is too small (see
    `bootstrap_accuracy_over_seeds`).

    Args:
        correct, reference: (seeds, images) booleans, or shares of an image's crops in 0..1; the
            same images in the same order, not necessarily as many seeds.
        level, resamples, seed: as for `bootstrap_mean`.

    Returns:
        Limits are NaN where resampling changes nothing (one image, or all alike), and those of the
        ratio where the reference can be 0.

    Raises:
        UserError: not matrices of as many images, no images, or a bad level or count.
    """
    _check_level(level)
    _check_resamples(resamples)
    first, second = np.asarray(correct, np.float64), np.asarray(reference, np.float64)
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1] or not first.size:
        raise UserError(
            f"comparison: expected (seeds, images) of the same images: {first.shape} and "
            f"{second.shape}"
        )
    images = first.shape[1]
    kinds, counts = np.unique(np.vstack([first, second]), axis=1, return_counts=True)
    sides = (kinds[: len(first)], kinds[len(first) :])
    rng = np.random.default_rng(seed)
    weights = [
        rng.multinomial(len(side), np.full(len(side), 1 / len(side)), size=resamples) / len(side)
        for side in sides
    ]
    means: list[list[NDArray[np.float64]]] = [[], []]
    start = 0
    for drawn in _resampled_counts(rng, counts, resamples):
        for found, weight, side in zip(means, weights, sides, strict=True):
            found.append((weight[start : start + len(drawn)] @ side * drawn).sum(axis=1) / images)
        start += len(drawn)
    ours, theirs = (np.concatenate(found) for found in means)
    value, base = float(first.mean()), float(second.mean())
    difference = _limited(base - value, theirs - ours, level)
    if base == 0:
        return Comparison(difference, Interval(math.nan, math.nan, math.nan))
    if not theirs.all():
        return Comparison(difference, Interval(value / base, math.nan, math.nan))
    return Comparison(difference, _limited(value / base, ours / theirs, level))


def _limited(value: float, resampled: NDArray[np.float64], level: float) -> Interval:
    """Return an estimate with its percentile limits; NaN where it is always the same."""
    if np.ptp(resampled) == 0:
        return Interval(value, math.nan, math.nan)
    return Interval(value, *_percentiles(resampled, level))


def jackknife(value: float, left_out: Sequence[float], level: float = 0.95) -> Interval:
    """Interval of an estimate from its values with one group of items left out each.

    The delete-a-group jackknife: with g random groups of the same size, the variance is (g - 1) / g
    times the sum of squared deviations of the values from their mean, and the limits are those of
    Student's t with g - 1 degrees of freedom. For smooth estimates that no bootstrap is fit for,
    as its repeated items shift them.

    Source: Kott, The Delete-a-Group Jackknife (Journal of Official Statistics 2001).

    Raises:
        UserError: fewer than two groups, or a level outside (0, 1).

    Examples:
        >>> value, low, high = jackknife(1.0, [0.9, 1.0, 1.1])
        >>> f"{value:.1f} [{low:.2f}, {high:.2f}]"
        '1.0 [0.50, 1.50]'
    """
    _check_level(level)
    if len(left_out) < 2:
        raise UserError(f"the jackknife needs at least 2 groups: {len(left_out)}")
    groups = len(left_out)
    spread = math.sqrt((groups - 1) * float(np.var(np.asarray(left_out, dtype=np.float64))))
    half = float(stdtrit(groups - 1, 0.5 + level / 2)) * spread
    return Interval(value, value - half, value + half)


def _resampled_counts(
    rng: np.random.Generator, counts: NDArray[np.int64], resamples: int
) -> Iterator[NDArray[np.int64]]:
    """How often each distinct value is drawn: blocks of (block, distinct), `resamples` rows."""
    n = int(counts.sum())
    block = max(1, _COUNTS_AT_ONCE // len(counts))
    for start in range(0, resamples, block):
        yield rng.multinomial(n, counts / n, size=min(block, resamples - start))


def _percentiles(means: NDArray[np.float64], level: float) -> tuple[float, float]:
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise UserError(f"the confidence level must lie between 0 and 1: {level}")


def _check_resamples(resamples: int) -> None:
    if resamples < 2:
        raise UserError(f"the bootstrap needs at least 2 resamples: {resamples}")
