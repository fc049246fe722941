"""Vendi score: how many different images a set is worth, from 1 to its size.

Source: Friedman and Dieng, The Vendi Score (TMLR 2023), equation 1, of order 1 and with the cosine
similarity: the exponential of the entropy of the eigenvalues of K / n. It needs no real images, and
it grows with the number of images: only sets of the same size can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthgap.errors import UserError
from synthgap.metrics.distances import Points
from synthgap.metrics.frechet import GROUPS, random_groups
from synthgap.metrics.intervals import bootstrap_mean, jackknife
from synthgap.metrics.measures import Measure

# Images a class: two a group of the jackknife.
LEAST = 2 * GROUPS


def vendi_score(values: NDArray[Any]) -> float:
    """Vendi score of (n, d) features, n >= 1, in 1..min(n, d).

    Raises:
        UserError: not a matrix, values that are not finite, or a row of zeros.

    Examples:
        >>> round(vendi_score(np.eye(4)), 6), round(vendi_score(np.ones((4, 4))), 6)
        (4.0, 1.0)
    """
    points = Points("Vendi score's", values, "cosine")
    rows = points.rows(slice(0, len(points)))
    # Both products have the same eigenvalues but for zeros.
    gram = rows @ rows.T if len(rows) <= points.width else rows.T @ rows
    shares = np.linalg.eigvalsh(gram / len(rows))
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def about_class(index: int, names: Mapping[int, str]) -> dict[str, Any]:
    """What settings say of a class; names alone may repeat, as ImageNet's `crane` does."""
    return {"class": names.get(index, str(index)), "class_index": index}


def require_classes(class_indices: NDArray[np.integer[Any]], names: Mapping[int, str]) -> int:
    """Return the number of images of the smallest class. UserError where that is too small."""
    classes, counts = np.unique(class_indices, return_counts=True)
    if counts.min() < LEAST:
        name = about_class(int(classes[counts.argmin()]), names)["class"]
        raise UserError(f"Vendi score: {counts.min()} images of {name}; {LEAST} a class are needed")
    return int(counts.min())


def measure_vendi(
    values: NDArray[Any],
    class_indices: NDArray[np.integer[Any]],
    class_names: Mapping[int, str],
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> list[Measure]:
    """Vendi score within each class, and its mean over classes, with 95 % intervals.

    That of the mean is a bootstrap over classes, that of a class a jackknife over ten random
    groups of its images. The metric's name holds the images of the smallest class, as a score
    depends on their number.

    Raises:
        UserError: a class of fewer than 20 images; values as of `vendi_score`.
    """
    fewest = require_classes(class_indices, class_names)
    classes = np.unique(class_indices)
    found = []
    for index in classes:
        # The same number of each class.
        rows = values[np.flatnonzero(class_indices == index)[:fewest]]
        groups = random_groups(fewest, seed)
        score = vendi_score(rows)
        left_out = [vendi_score(rows[groups != group]) for group in np.unique(groups)]
        interval = jackknife(score, left_out)
        low = max(1.0, interval.low)
        settings = about_class(int(index), class_names)
        metric = f"vendi_of_class_cosine_n{fewest}"
        found.append(Measure(metric, score, fewest, low, interval.high, settings))
    scores = np.asarray([measure.value for measure in found])
    value, low, high = bootstrap_mean(scores, resamples=resamples, seed=seed)
    metric = f"vendi_within_class_cosine_n{fewest}"
    whole = Measure(metric, value, len(classes), low, high, name="vendi_within_class")
    return [whole, *found]
