"""Fréchet distance between two sets of features, each taken as a normal distribution.

    FD = |m1 - m2|^2 + tr(S1) + tr(S2) - 2 tr((S1 S2)^(1/2))

Of Inception's features it is FID (Heusel et al., NeurIPS 2017, equation 6), of DINOv2's FD-DINOv2
(Stein et al., NeurIPS 2023). Means and covariances (with n - 1) are summed up in float64, a block
of rows at a time. FD of a sample is biased upwards, by about c / n: numbers of different sizes
must not be compared, and by convention 50 000 images are taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from synthgap.errors import UserError
from synthgap.metrics.distances import Floats, slices
from synthgap.metrics.intervals import jackknife
from synthgap.metrics.measures import Measure

CONVENTIONAL = 50_000
GROUPS = 10
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class Moments:
    """Sums over rows, from which mean and covariance follow; they add up and can be taken apart.

    Second moments are about `shift`, a point near the mean, where no digits are lost.
    """

    n: int
    shift: Floats
    """(d,)"""
    total: Floats
    """(d,) of rows less the shift"""
    squares: Floats
    """(d, d) of outer products of rows less the shift"""

    @property
    def mean(self) -> Floats:
        """(d,)"""
        mean: Floats = self.shift + self.total / self.n
        return mean

    @property
    def covariance(self) -> Floats:
        """(d, d), divided by n - 1."""
        outer = np.outer(self.total, self.total / self.n)
        covariance: Floats = (self.squares - outer) / (self.n - 1)
        return covariance

    def without(self, other: Moments) -> Moments:
        """The sums of the rows that `other`, of the same shift, does not have."""
        total, squares = self.total - other.total, self.squares - other.squares
        return Moments(self.n - other.n, self.shift, total, squares)


def moments(
    values: NDArray[Any], groups: NDArray[np.integer[Any]] | None = None
) -> tuple[Moments, list[Moments]]:
    """Sums over all rows, and over those of each group.

    Memory: d^2 numbers of float64 a group.

    Args:
        values: (n, d) features, in memory or mapped from a file.
        groups: (n,) a group's number for each row; None: no groups.

    Raises:
        UserError: not a matrix of two rows or more, or values that are not finite.
    """
    if values.ndim != 2 or len(values) < 2:
        raise UserError(f"moments: features of two rows or more are needed, got {values.shape}")
    width = values.shape[1]
    shift = values[:_ROWS_AT_ONCE].astype(np.float64).mean(axis=0)
    labels = np.zeros(len(values), dtype=np.int64) if groups is None else groups
    count = int(labels.max()) + 1
    totals, squares = np.zeros((count, width)), np.zeros((count, width, width))
    for rows in slices(len(values), _ROWS_AT_ONCE):
        with np.errstate(over="ignore", invalid="ignore"):
            block = values[rows].astype(np.float64) - shift
        if not np.isfinite(block).all():
            raise UserError("moments: features are not finite")
        for group in np.unique(labels[rows]):
            part = block[labels[rows] == group]
            totals[group] += part.sum(axis=0)
            with np.errstate(over="ignore", invalid="ignore"):
                squares[group] += part.T @ part
    if not np.isfinite(squares).all():
        raise UserError("moments: features are too large to square")
    sizes = np.bincount(labels, minlength=count)
    whole = Moments(len(values), shift, totals.sum(axis=0), squares.sum(axis=0))
    if groups is None:
        return whole, []
    parts = zip(sizes, totals, squares, strict=True)
    return whole, [Moments(int(n), shift, total, square) for n, total, square in parts]


class Normal:
    """A normal distribution that others are compared with.

    Args:
        mean: (d,). covariance: (d, d), symmetric and positive semidefinite.
    """

    def __init__(self, mean: Floats, covariance: Floats) -> None:
        self.mean, self.trace = mean, float(np.trace(covariance))
        self.factor = _factor(covariance)

    def distance(self, mean: Floats, covariance: Floats) -> float:
        """Fréchet distance to another normal distribution, >= 0.

        The eigenvalues of S1 S2 are those of the symmetric L^T S2 L with S1 = L L^T, which are
        real and come without the square root of a matrix. Where both covariances lack rank (fewer
        images than features), rounding moves the distance by some 1e-8 of the traces.
        """
        inner = self.factor.T @ covariance @ self.factor
        eigenvalues = scipy.linalg.eigh(
            inner, eigvals_only=True, overwrite_a=True, check_finite=False, driver="evd"
        )
        root = float(np.sqrt(np.maximum(eigenvalues, 0)).sum())
        offset = float(np.square(self.mean - mean).sum())
        return max(0.0, offset + self.trace + float(np.trace(covariance)) - 2 * root)


def _factor(covariance: Floats) -> Floats:
    """(d, r) L with L L^T the covariance, of rank r where that is less than d."""
    try:
        factor = np.linalg.cholesky(covariance).astype(np.float64, copy=False)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(covariance)
        kept = values > 0
        factor = vectors[:, kept] * np.sqrt(values[kept])
    return factor


def measure_frechet(
    real: Normal,
    n_real: int,
    values: NDArray[Any],
    *,
    name: str = "fd",
    few: bool = False,
    seed: int = 0,
) -> Measure:
    """Fréchet distance of generated features to real ones, with a 95 % interval.

    The interval is a jackknife over ten random groups of generated images; the real images are
    held fixed. It speaks of the spread, and not of the bias of small samples. In simulations it
    holds the expected distance in 96 to 99 % of draws of normal features; with heavy tails
    (Student's t of 3 degrees of freedom) in 61 %.

    Args:
        values: (n, d) features of generated images.
        name: `fid` for Inception's features, `fd` for others; fewer images than 50 000 on either
            side put their number into it: `fid_n10000`.
        few: whether so few are allowed.

    Raises:
        UserError: fewer than 50 000 images without `few`, other widths, values not finite.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> real, _ = moments(rng.normal(size=(1000, 4)))
        >>> normal = Normal(real.mean, real.covariance)
        >>> found = measure_frechet(normal, 1000, rng.normal(1, size=(500, 4)), few=True)
        >>> found.metric, 3.5 < found.value < 4.5  # four means are off by one
        ('fd_n500', True)
    """
    fewest = require_enough(name, n_real, len(values), few)
    if values.shape[1] != len(real.mean):
        raise UserError(
            f"{name}: real features have {len(real.mean)} columns and generated "
            f"{values.shape[1]}; both must come from the same encoder"
        )
    whole, parts = moments(values, random_groups(len(values), seed))
    value = real.distance(whole.mean, whole.covariance)
    rests = [whole.without(part) for part in parts]
    left_out = [real.distance(rest.mean, rest.covariance) for rest in rests]
    interval = jackknife(value, left_out)
    variant = name if fewest >= CONVENTIONAL else f"{name}_n{fewest}"
    low = max(0.0, interval.low)
    return Measure(variant, value, len(values), low, interval.high, name=name)


def require_enough(name: str, n_real: int, n_fake: int, few: bool) -> int:
    """Return the smaller number of images. UserError where it is too small for the metric."""
    fewest = min(n_real, n_fake)
    if fewest < CONVENTIONAL and not few:
        raise UserError(
            f"{name}: {fewest} images are fewer than the {CONVENTIONAL} that make numbers "
            "comparable; allow it (--few, or `few: true` in the config) to get a number whose name "
            "says how many"
        )
    if n_real < 2 or n_fake < 2 * GROUPS:
        raise UserError(
            f"{name}: 2 real and {2 * GROUPS} generated rows are needed, got {n_real} and {n_fake}"
        )
    return fewest


def random_groups(n: int, seed: int) -> NDArray[np.int64]:
    """(n,) a group's number for each row: ten of the same size, give or take one, at random."""
    groups: NDArray[np.int64] = np.random.default_rng(seed).permutation(n) % GROUPS
    return groups
