"""Which share of generated images are copies of training images, and of which classes they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from synthgap.errors import UserError
from synthgap.metrics.intervals import wilson
from synthgap.metrics.measures import Measure

# Whether a copy has at least the threshold, or at most.
IS_SIMILARITY = {"ssim": True, "lpips": False}


def memorised(
    values: Mapping[str, NDArray[np.float64]], thresholds: Mapping[str, float]
) -> list[Measure]:
    """Return the share of images that are copies by each metric, with Wilson's interval.

    A copy is an image whose nearest training image has an SSIM of the threshold or more, or an
    LPIPS of it or less. Paper D shows copies (figure 6) and counts none: thresholds are one's own.

    Args:
        values: by metric, (n,) of each image's nearest training image.
        thresholds: by metric.

    Raises:
        UserError: a metric that is unknown or was not measured.
    """
    found = []
    for metric, threshold in thresholds.items():
        if metric not in values or metric not in IS_SIMILARITY:
            raise UserError(f"{metric}: not among what was measured, {', '.join(values)}")
        near = values[metric] >= threshold if IS_SIMILARITY[metric] else values[metric] <= threshold
        share = wilson(int(near.sum()), len(near))
        found.append(
            Measure(
                f"memorised_share_{metric}",
                share.value,
                len(near),
                share.low,
                share.high,
                {"threshold": threshold},
                name=f"memorised_{metric}",
            )
        )
    return found


def class_shares(
    predicted: NDArray[np.int64], names: Sequence[str], wanted: Sequence[int] | None = None
) -> list[Measure]:
    """Return which share of images a classifier takes for each class (paper D, figure 3).

    Args:
        predicted: (n,) class indices.
        names: of all classes.
        wanted: those that were to be generated; of the others the share in all is told, too.
    """
    count, found = len(predicted), []
    for index, name in enumerate(names):
        share = wilson(int((predicted == index).sum()), count)
        settings = {"class": name, "class_index": index}
        found.append(Measure("class_share", share.value, count, share.low, share.high, settings))
    if wanted is not None:
        share = wilson(int((~np.isin(predicted, list(wanted))).sum()), count)
        found.append(
            Measure(
                "other_classes_share", share.value, count, share.low, share.high,
                name="other_classes",
            )
        )  # fmt: skip
    return found
