"""Scores of benchmarks with several images a prompt: intervals over prompts, and names.

The images of a prompt share its difficulty, so a prompt is what is resampled, with all of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from synthgap.errors import UserError
from synthgap.metrics.intervals import Interval, wilson

# A stratum: for each prompt (sum of what is averaged, number of it), shape (prompts, 2).
Stratum = NDArray[np.float64]


def stratified_mean(
    strata: Sequence[Stratum], *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Mean over strata of each one's mean over items, with a percentile bootstrap over prompts.

    Prompts are resampled within their stratum, as a benchmark fixes how many each has. Where all
    values are 0, or all are 1, the bootstrap has no width; then the interval is Wilson's for the
    number of prompts. (A stratum of such prompts among others adds no width to theirs.)

    Args:
        strata: of each, (prompts, 2): sum and number of a prompt's values, which lie in 0..1.

    Returns:
        In 0..1. Both limits are NaN where a single prompt says nothing of its spread.

    Raises:
        UserError: no strata, or one without values.
    """
    if not strata or any(len(s) == 0 or s[:, 1].sum() <= 0 for s in strata):
        raise UserError("a score needs values in every task")
    value = float(np.mean([s[:, 0].sum() / s[:, 1].sum() for s in strata]))
    prompts = sum(len(s) for s in strata)
    if all((s[:, 0] == 0).all() for s in strata):
        return wilson(0, prompts, level)
    if all((s[:, 0] == s[:, 1]).all() for s in strata):
        return wilson(prompts, prompts, level)
    rng = np.random.default_rng(seed)
    means = np.zeros(resamples)
    varied = False
    for stratum in strata:
        kinds, counts = np.unique(stratum, axis=0, return_counts=True)
        varied |= len(kinds) > 1
        drawn = rng.multinomial(len(stratum), counts / len(stratum), size=resamples) @ kinds
        # A prompt may have no value in this stratum, and a resample then only such prompts.
        safe = np.maximum(drawn[:, 1], 1)
        means += np.where(drawn[:, 1] > 0, drawn[:, 0] / safe, np.nan)
    if not varied:
        return Interval(value, math.nan, math.nan)
    low, high = np.nanquantile(means / len(strata), [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))


def size_suffix(prompts: int, images: int, complete: bool) -> str:
    """Return what a score's name ends in: nothing for the whole benchmark, else its size."""
    return "" if complete else f"_n{prompts}_images{images}"
