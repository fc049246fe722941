"""Spearman's rank correlation with the interval of Bonett and Wright."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from scipy.stats import rankdata

from synthgap.errors import UserError
from synthgap.metrics.intervals import Interval

# With four pairs the standard error is that of a single degree of freedom: no sign could be told.
LEAST = 5


def spearman(x: Sequence[float], y: Sequence[float], level: float = 0.95) -> Interval:
    """Rank correlation of pairs, in -1..1, with limits on Fisher's scale.

    Its standard error there is sqrt((1 + r^2 / 2) / (n - 3)), and the quantile is the normal one
    (Bonett and Wright, Psychometrika 2000, equation 3).

    Ties take the mean of their ranks, and r is Pearson's correlation of the ranks. Where |r| = 1
    Fisher's scale has no such place, and the formula would claim certainty; the limit on the near
    side of it is then that of |r| = 1 - 6 / (n (n^2 - 1)), half the way to the next value that n
    pairs without ties can have (two neighbours changed places), and the other limit is r itself. So
    five pairs in perfect order just tell a sign, as in the exact permutation test (p = 2 / 5!).

    Returns:
        The correlation and its limits. All are NaN where one side has a single value only, as
        nothing can be ranked then.

    Raises:
        UserError: fewer than `LEAST` pairs, sides of different lengths, a value that is not
            finite, or a level outside (0, 1).

    Examples:
        >>> r, low, high = spearman([1, 2, 3, 4, 5, 6], [2, 1, 3, 4, 6, 5])
        >>> f"{r:.2f} [{low:.2f}, {high:.2f}]"
        '0.89 [0.07, 0.99]'
    """
    if len(x) != len(y) or len(x) < LEAST:
        raise UserError(
            f"rank correlation: needs at least {LEAST} pairs, got {len(x)} and {len(y)} values"
        )
    if not 0 < level < 1:
        raise UserError(f"the confidence level must lie between 0 and 1: {level}")
    values = np.asarray([x, y], dtype=np.float64)
    if not np.isfinite(values).all():
        raise UserError("rank correlation: the values hold NaN or infinity")
    ranks = rankdata(values, axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    scale = math.sqrt(float((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum()))
    if scale == 0:
        return Interval(math.nan, math.nan, math.nan)
    r = max(-1.0, min(1.0, float(ranks[0] @ ranks[1]) / scale))
    n = len(x)
    nearest = 1 - 6 / (n * (n * n - 1))
    # Rounding leaves a perfect order a little short of 1; any other is further from it than this.
    if abs(r) > 1 - 1e-12:
        r = math.copysign(1.0, r)
    inner = math.copysign(nearest, r) if abs(r) == 1 else r
    half = NormalDist().inv_cdf(0.5 + level / 2) * math.sqrt((1 + inner**2 / 2) / (n - 3))
    low, high = math.tanh(math.atanh(inner) - half), math.tanh(math.atanh(inner) + half)
    return Interval(r, -1.0 if r == -1 else low, 1.0 if r == 1 else high)
