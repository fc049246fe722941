"""Differences with intervals: of two numbers of the metrics table, and over generators."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

from synthgap.errors import UserError
from synthgap.metrics.intervals import Interval
from synthgap.metrics.table import Row

LEAST = 3


def signed_sum(terms: Sequence[tuple[int, Row]]) -> Interval:
    """Sum of +- numbers whose own intervals are squared and added.

    Newcombe, Statistics in Medicine 1998, method 10; for more than two terms Zou and Donner,
    Statistics in Medicine 2008 (MOVER). It takes the numbers as independent; accuracies on the same
    test images are not, and then it is rather too wide than too narrow.

    Args:
        terms: (+1 or -1, row).

    Returns:
        Limits are NaN where a row has none.

    Examples:
        >>> new = Row("transfer", "top1_accuracy", 0.90, 100, 0.85, 0.94)
        >>> old = Row("transfer", "top1_accuracy", 0.80, 100, 0.72, 0.87)
        >>> value, low, high = signed_sum([(1, new), (-1, old)])
        >>> f"{value:.2f} [{low:.3f}, {high:.3f}]"
        '0.10 [0.014, 0.189]'
    """
    value = sum(sign * row.value for sign, row in terms)
    below = above = 0.0
    for sign, row in terms:
        if row.ci_low is None or row.ci_high is None:
            return Interval(value, math.nan, math.nan)
        down, up = row.value - row.ci_low, row.ci_high - row.value
        below, above = (
            math.hypot(below, down if sign > 0 else up),
            math.hypot(above, up if sign > 0 else down),
        )
    return Interval(value, value - below, value + above)


def student(values: Sequence[float], level: float = 0.95) -> Interval:
    """Mean of independent values with Student's t interval.

    Returns:
        Limits are NaN where all values are equal, as they then say nothing of their spread.

    Raises:
        UserError: fewer than `LEAST` values.

    Examples:
        >>> mean, low, high = student([0.90, 0.92, 0.94])
        >>> f"{mean:.2f} [{low:.3f}, {high:.3f}]"
        '0.92 [0.870, 0.970]'
    """
    n = len(values)
    if n < LEAST:
        raise UserError(f"Student's t interval: needs at least {LEAST} values, got {n}")
    mean, spread = float(np.mean(values)), float(np.std(values, ddof=1))
    if spread == 0:
        return Interval(mean, math.nan, math.nan)
    half = float(stdtrit(n - 1, 0.5 + level / 2)) * spread / math.sqrt(n)
    return Interval(mean, mean - half, mean + half)
