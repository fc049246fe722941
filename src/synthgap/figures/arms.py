"""What study B compares: arms (models with their prompts), their numbers, and differences.

An arm that was trained several times has a number of each training, and its interval is Student's t
over trainings: what another training would come to. With fewer than three there is only the
interval of the images, which takes the trained model as given.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from synthgap.figures.data import REAL, prompts_order
from synthgap.figures.metric_titles import TITLES, Title, plain_name, title_of, variant_note
from synthgap.metrics.estimates import LEAST, signed_sum, student
from synthgap.metrics.intervals import Interval
from synthgap.metrics.table import Row

# The share of images that show the class asked for says the same.
LEFT_OUT = {"class_probability"}
# Study A asks what they mean for training data; paper B counts more of them as better.
BETTER = {"density": 1, "coverage": 1, "precision": 1, "recall": 1, "vendi_within_class": 1}


@dataclass(frozen=True)
class Arm:
    """A model with a kind of prompt."""

    name: str
    prompts: str
    order: int
    is_baseline: bool
    learnt_from: str = ""
    """captions and augmentation, in words; "" of a model from elsewhere"""
    denoiser: str = ""

    @property
    def label(self) -> str:
        """The arm by name, with its prompts."""
        return f"{self.name}, {self.prompts}"


@dataclass(frozen=True)
class Number:
    """A metric of an arm: a row for each of its trainings."""

    rows: tuple[Row, ...]

    @property
    def trainings(self) -> int:
        """How many trainings it is the mean of."""
        return len(self.rows)

    @property
    def interval(self) -> Interval:
        """Over trainings where there are enough, otherwise of the images."""
        if self.trainings >= LEAST:
            return student([row.value for row in self.rows])
        if self.trainings == 1:
            return signed_sum([(1, self.rows[0])])
        total = signed_sum([(1, row) for row in self.rows])
        return Interval(*(part / self.trainings for part in total))


@dataclass(frozen=True)
class Column:
    """A metric of all arms; `by_arm` at the end of training, `by_step` before it."""

    metric: str
    title: Title
    note: str
    distribution: str
    by_arm: dict[Arm, Number] = field(default_factory=dict)
    by_step: dict[Arm, dict[int, Number]] = field(default_factory=dict)
    real: Row | None = None
    """what real images come to, where that was measured"""

    @property
    def better(self) -> int:
        """1 where higher is better, -1 where lower is."""
        return BETTER.get(plain_name(self.metric), self.title.better)

    def interval(self, number: Number) -> Interval:
        """A number's interval; that of a share ends at 0 and 1, which Student's does not know."""
        value, low, high = number.interval
        if self.title.percent and not math.isnan(low):
            return Interval(value, max(0.0, low), min(1.0, high))
        return Interval(value, low, high)


def columns(rows: Sequence[Row]) -> list[Column]:
    """The metrics that study B's arms have, in the order of `TITLES`."""
    found: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        plain = plain_name(row.metric)
        if plain in TITLES and plain not in LEFT_OUT and _is_summary(row):
            scorer = json.dumps(row.settings.get("scorer"), sort_keys=True)
            key = row.metric, str(row.settings.get("distribution", "")), scorer
            found.setdefault(key, []).append(row)
    arms = _arms(rows)
    made = [_column(*key[:2], chosen, arms) for key, chosen in found.items()]
    order = list(TITLES)
    return sorted(
        (column for column in made if column.by_arm),
        key=lambda c: (order.index(plain_name(c.metric)), c.metric, c.distribution),
    )


def arms_of(found: Iterable[Column]) -> list[Arm]:
    """All arms with any number, in the study's order."""
    arms = {arm for column in found for arm in column.by_arm}
    return sorted(arms, key=lambda arm: (arm.order, prompts_order(arm.prompts)))


def baseline_of(arm: Arm, arms: Iterable[Arm]) -> Arm | None:
    """The baseline that an arm is compared with: of its own denoiser and prompts, if there is."""
    if arm.is_baseline:
        return None
    found = [other for other in arms if other.is_baseline]
    for alike in ("denoiser", "prompts"):
        found = [o for o in found if getattr(o, alike) == getattr(arm, alike)] or found
    return next(iter(found), None)


def difference(one: Number, other: Number) -> Interval:
    """One number less another: Welch's interval over trainings, or of the images as independent."""
    if min(one.trainings, other.trainings) < LEAST:
        terms = [(1, one), (-1, other)]
        parts = [number.interval for _, number in terms]
        value = parts[0].value - parts[1].value
        below = math.hypot(parts[0].value - parts[0].low, parts[1].high - parts[1].value)
        above = math.hypot(parts[0].high - parts[0].value, parts[1].value - parts[1].low)
        return Interval(value, value - below, value + above)
    return welch([row.value for row in one.rows], [row.value for row in other.rows])


def welch(one: Sequence[float], other: Sequence[float], level: float = 0.95) -> Interval:
    """Difference of two means with Welch's interval, which lets their spreads differ.

    Returns:
        Limits are NaN where neither side varies.
    """
    from scipy.stats import ttest_ind

    value = float(np.mean(one) - np.mean(other))
    if np.ptp(one) == np.ptp(other) == 0:
        return Interval(value, math.nan, math.nan)
    low, high = ttest_ind(one, other, equal_var=False).confidence_interval(level)
    return Interval(value, float(low), float(high))


def _is_summary(row: Row) -> bool:
    """Whether a row is of the images of an arm, or of real ones beside them, over all seeds."""
    of_images = row.study in ("text-to-image", "alignment", "replication")
    measured = of_images or "distribution" in row.settings
    known = "arm" in row.settings or row.test_source == REAL
    return measured and known and row.seed is None and "class" not in row.settings


def _arms(rows: Iterable[Row]) -> dict[tuple[str, str], Arm]:
    """Arms by name and kind of prompt."""
    found: dict[tuple[str, str], Arm] = {}
    for row in rows:
        told: Mapping[str, object] = row.settings
        if "arm" not in told or "prompts" not in told:
            continue
        name, prompts = str(told["arm"]), str(told["prompts"])
        learnt = [str(told[key]) for key in ("captions", "augmentation") if told.get(key)]
        found[name, prompts] = Arm(
            name,
            prompts,
            int(str(told["arm_order"])),
            bool(told["baseline"]),
            ", ".join(one for one in learnt if one != "none"),
            str(told.get("denoiser", "")),
        )
    return found


def _column(
    metric: str, distribution: str, rows: Sequence[Row], arms: Mapping[tuple[str, str], Arm]
) -> Column:
    column = Column(metric, title_of(metric), variant_note(metric), distribution)
    at: dict[tuple[Arm, int | None], list[Row]] = {}
    for row in sorted(rows, key=lambda row: int(row.settings.get("training", 0))):
        if "arm" not in row.settings:
            column = Column(metric, column.title, column.note, distribution, real=row)
            continue
        name, prompts = str(row.settings["arm"]), row.settings.get("prompts")
        step = int(row.settings["training_step"]) if row.settings["on_curve"] else None
        # A benchmark has prompts of its own: its scores count for the model whatever its prompts.
        for (other, kind), arm in arms.items():
            if other == name and prompts in (None, kind):
                at.setdefault((arm, step), []).append(row)
    for (arm, step), chosen in at.items():
        if step is None:
            column.by_arm[arm] = Number(tuple(chosen))
        else:
            column.by_step.setdefault(arm, {})[step] = Number(tuple(chosen))
    for arm, steps in column.by_step.items():
        if arm in column.by_arm:  # the curve ends where the first training does
            first = column.by_arm[arm].rows[0]
            steps[int(first.settings["training_step"])] = Number((first,))
            column.by_step[arm] = dict(sorted(steps.items()))
    return column
