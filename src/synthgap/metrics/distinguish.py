"""Numbers of study C: how well sources are told apart, and how far apart they are at least.

Source: paper C, section 3 and appendix E.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synthgap.errors import UserError
from synthgap.metrics.intervals import (
    Interval,
    bootstrap_accuracy_over_seeds,
    bootstrap_mean_over_seeds,
)
from synthgap.metrics.predictions import Predictions, by_image, correct
from synthgap.metrics.table import Row

ACCURACY = "top1_accuracy"
BOUND = "jensen_shannon_lower_bound_bits"
FAKE = "share_called_fake"
GRID = 4096


def told_apart(
    trial: Mapping[str, Any], seeds: Mapping[int, Predictions], about: Mapping[str, Any], seed: int
) -> list[Row]:
    """Return accuracy and lower bound of a trial: of each training seed, and over all of them.

    Args:
        trial: of `config.about.trials`.
        seeds: what was predicted, by training seed.
        about: what the metrics table says of the generated side.
        seed: of the bootstrap.
    """
    name, sources = trial["dataset"], trial["sources"]
    parts = in_one_order(seeds, name)
    right = np.stack([correct(part) for part in parts.values()])
    bits = np.stack([information(part, len(sources)) for part in parts.values()])
    settings = about_trial(trial, seeds) | dict(about)
    found: list[Row] = []
    rows: list[tuple[int | None, slice]] = [(s, slice(i, i + 1)) for i, s in enumerate(parts)]
    for training_seed, chosen in [*rows, (None, slice(None))]:
        extra = {} if training_seed is not None else {"seeds": len(parts)}
        if not found or len(parts) > 1:  # of a single seed, all of them are the same again
            of = {
                ACCURACY: bootstrap_accuracy_over_seeds(right[chosen], seed=seed),
                BOUND: bound_over_seeds(bits[chosen], len(sources), seed=seed),
            }
        found += [
            as_row(metric, interval, trial, right.shape[1], training_seed, settings | extra)
            for metric, interval in of.items()
        ]
    return found


def information(rows: pa.Table, classes: int) -> NDArray[np.float64]:
    """Return log2(classes) plus the log2-likelihood of each image's source, in bits, by image.

    With as many images of each source, the mean over test images is at most the Jensen-Shannon
    divergence of the sources, whatever the classifier (0 to log2(classes) bits): the best one has
    cross-entropy log(classes) - JSD. By chance it may come out below 0.

    Args:
        rows: of `Predictions.of`.
    """
    likelihood = rows["log_likelihood"].to_numpy().astype(np.float64)
    return by_image(rows, math.log2(classes) + likelihood / math.log(2))


def bound_over_seeds(bits: NDArray[np.float64], classes: int, *, seed: int = 0) -> Interval:
    """Return the mean of `information` over seeds and images, with an interval.

    A classifier that is sure and was never wrong on n images says nothing of what its first mistake
    will cost: their bootstrap would have no width. So two images are made up besides, the best that
    was seen and the worst that could have been, one of another source than the classifier took the
    surest image for; the hierarchical bootstrap is over these and the others. With all of n right,
    the lower limit is that of 3 / n of mistakes, where Wilson's interval has 3.8 / n. Where nothing
    is known, a mistake costs next to nothing, and the limits stay as narrow as they were.

    Args:
        bits: of `information`, (seeds, images).
        classes: number of sources.
    """
    surest = np.exp2(bits.max()) / classes
    # The rest of the probability, evenly over the other sources.
    worst = math.log2(max(1e-12, classes * (1 - surest) / (classes - 1)))
    made_up = np.array([[min(worst, bits.min()), bits.max()]])
    padded = np.concatenate([bits, made_up.repeat(len(bits), axis=0)], axis=1)
    # Few values are resampled faster than many. On a grid so fine only their mean moves.
    step = float(np.ptp(padded)) / GRID
    few = (padded / step).round() * step if step else padded
    _, low, high = bootstrap_mean_over_seeds(few, seed=seed)
    low, high = (limit + float(padded.mean() - few.mean()) for limit in (low, high))
    value = float(bits.mean())
    # Comparisons with NaN are false, and keep it.
    return Interval(value, value if low > value else low, value if high < value else high)


def called_fake(
    trial: Mapping[str, Any],
    seeds: Mapping[int, Predictions],
    judged: Sequence[str],
    sources: Mapping[str, Mapping[str, Any]],
    seed: int,
) -> list[Row]:
    """Return the share of generated images that classifiers do not take for real.

    Args:
        trial: a comparison of `real` with one source.
        judged: further sources whose images the classifiers were shown.
        sources: what the metrics table says of each source.
    """
    name, own = trial["dataset"], trial["sources"][1]
    found = []
    for source in [own, *judged]:
        values = []
        for part in in_one_order(seeds, name if source == own else source).values():
            rows = part.filter(pa.array(part["class_index"].to_numpy() == 1))
            values.append(by_image(rows, rows["predicted"].to_numpy() != 0))
        interval = bootstrap_accuracy_over_seeds(np.stack(values), seed=seed)
        settings = about_trial(trial, seeds) | dict(sources.get(source, {}))
        settings |= {"seeds": len(values), "judged_by": name}
        row = as_row(FAKE, interval, trial, len(values[0]), None, settings)
        found.append(replace(row, study="realism", test_source=source))
    return found


def about_trial(trial: Mapping[str, Any], seeds: Mapping[int, Predictions]) -> dict[str, Any]:
    """Return what shaped the numbers of a trial."""
    sources = trial["sources"]
    settings = {
        "comparison": "+".join(sources),
        "distributions": sources,
        "chance": 1 / len(sources),
        "control": len(set(sources)) == 1,
        "axis": trial["axis"],
        "order": trial["order"],
        "train_images": next(iter(seeds.values())).train_images,
    }
    if trial["view_options"]:
        settings["view_options"] = trial["view_options"]
    return settings


def in_one_order(seeds: Mapping[int, Predictions], test: str) -> dict[int, pa.Table]:
    """Return, by seed, the rows of a test source, of the same images in one order.

    Raises:
        UserError: two seeds were tested on different images.
    """
    parts = {seed: predictions.of(test) for seed, predictions in seeds.items()}
    first, *others = parts.items()
    for seed, part in others:
        if not part["key"].equals(first[1]["key"]):
            raise UserError(
                f"{seeds[seed].path} and {seeds[first[0]].path} were tested on different images of "
                f"{test}; delete both and run snakemake again"
            )
    return parts


def as_row(
    metric: str,
    interval: Interval,
    trial: Mapping[str, Any],
    n: int,
    seed: int | None,
    settings: Mapping[str, Any],
) -> Row:
    """Return a row of the metrics table."""
    return Row(
        study="distinguish",
        metric=metric,
        value=interval.value,
        ci_low=interval.low,
        ci_high=interval.high,
        n=n,
        seed=seed,
        train_source=trial["sources"][0],
        test_source="+".join(trial["sources"][1:]),
        view=trial["view"],
        architecture=trial["classifier"],
        settings=dict(settings),
    )
