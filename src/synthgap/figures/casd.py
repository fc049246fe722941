"""What figures and report read of study `casd` (paper D): its models, and a number of each.

A row of the study has `casd` in its settings: arm, images, sources and designs (`config.casd`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from synthgap.metrics.estimates import LEAST, student
from synthgap.metrics.intervals import Interval
from synthgap.metrics.table import Row

ARMS = {"dm": "DM", "sda": "SDA", "casd": "CASD"}
CLASS_SHARE, OTHER_CLASSES = "class_share", "other_classes_share"
# Plain names of what models are compared by, as metrics' names begin.
FRECHET, RECALL, COVERAGE = "frechet", "recall", "coverage"
_FRECHET = re.compile(r"fi?d(_dinov2)?(_n\d+)?$")
_SHARED = re.compile(r"(recall|coverage)_k\d+_\w+$|(lpips|ssim)_.*_nearest$|memorised_share_\w+$")


@dataclass(frozen=True)
class Model:
    """An arm with its images; several trainings of it are one."""

    arm: str
    images: int
    source: str | None
    synthetic: int
    classes: tuple[int, ...] | None
    synthetic_classes: tuple[int, ...] | None

    @property
    def title(self) -> str:
        """The arm, and where its synthetic images come from."""
        return ARMS[self.arm] + (f" + {self.source}" if self.source else "")

    @property
    def baseline(self) -> Model:
        """The model of the same real images alone."""
        return Model("dm", self.images, None, 0, self.classes, None)


@dataclass(frozen=True)
class Number:
    """A number of a model, over all its trainings."""

    metric: str
    rows: tuple[Row, ...]

    @property
    def interval(self) -> Interval:
        """Mean over trainings; see `over_trainings`."""
        return over_trainings([_interval(row) for row in self.rows])


Numbers = Mapping[Model, Mapping[str, Number]]


def over_trainings(found: Sequence[Interval]) -> Interval:
    """Return one interval of several trainings' numbers.

    Of one training, its own: it speaks of other samples of that model alone. Of two, the mean, with
    the deviations of both squared and added; of more, Student's t interval over trainings.
    """
    if len(found) == 1:
        return found[0]
    if len(found) >= LEAST:
        return student([one.value for one in found])
    mean = float(np.mean([one.value for one in found]))
    below = math.hypot(*(one.value - one.low for one in found)) / len(found)
    above = math.hypot(*(one.high - one.value for one in found)) / len(found)
    return Interval(mean, mean - below, mean + above)


def of_study(rows: Iterable[Row]) -> list[Row]:
    """Return the rows that are of the study's models."""
    return [row for row in rows if row.settings.get("casd")]


def designs(rows: Iterable[Row]) -> list[str]:
    """Return the designs that rows belong to, in the config's order."""
    places: dict[str, int] = {}
    for row in of_study(rows):
        places |= _about(row)["designs"]
    return sorted(places, key=lambda name: places[name])


def numbers(rows: Iterable[Row], design: str) -> dict[Model, dict[str, Number]]:
    """Return what models of a design are compared by: by model, by metric.

    Models are in the order of their table: DM, SDA, CASD, each by its images.
    """
    found: dict[Model, dict[str, list[Row]]] = {}
    for row in of_study(rows):
        told = _about(row)
        if design not in told["designs"] or not (name := plain(row)):
            continue
        found.setdefault(model_of(row), {}).setdefault(name, []).append(row)
    return {
        model: {name: Number(of[0].metric, tuple(of)) for name, of in found[model].items()}
        for model in sorted(found, key=_order)
    }


def shares(rows: Iterable[Row], design: str) -> dict[Model, dict[str, Number]]:
    """Return the shares of classes of a design's models: by model, by class."""
    found: dict[Model, dict[str, list[Row]]] = {}
    for row in of_study(rows):
        if row.metric == CLASS_SHARE and design in _about(row)["designs"]:
            name = str(row.settings["class"])
            found.setdefault(model_of(row), {}).setdefault(name, []).append(row)
    return {
        model: {
            name: Number(CLASS_SHARE, tuple(of))
            for name, of in sorted(found[model].items(), key=lambda i: _index(i[1][0]))
        }
        for model in sorted(found, key=_order)
    }


def model_of(row: Row) -> Model:
    """Return the model that a row is of."""
    told = _about(row)
    classes, synthetic = told["classes"], told["synthetic_classes"]
    return Model(
        told["arm"],
        told["real_images"],
        told["synthetic_source"],
        told["synthetic_images"],
        tuple(classes) if classes else None,
        tuple(synthetic) if synthetic else None,
    )


def plain(row: Row) -> str:
    """Return what a row's number is called in tables of the study; nothing for others."""
    if row.metric == OTHER_CLASSES:
        return OTHER_CLASSES
    if row.settings.get("distribution", own := _about(row)["distribution"]) != own:
        return ""
    if _FRECHET.match(row.metric):
        return FRECHET
    found = _SHARED.match(row.metric)
    if found is None:
        return ""
    return found.group(1) or found.group(2) or row.metric


def difference(one: Number, other: Number) -> Interval:
    """Return how far a number lies above another, with the deviations squared and added (MOVER)."""
    a, b = one.interval, other.interval
    value = a.value - b.value
    return Interval(
        value,
        value - math.hypot(a.value - a.low, b.high - b.value),
        value + math.hypot(a.high - a.value, b.value - b.low),
    )


def _about(row: Row) -> Mapping[str, Any]:
    told: Mapping[str, Any] = row.settings["casd"]
    return told


def _interval(row: Row) -> Interval:
    low, high = (math.nan if limit is None else limit for limit in (row.ci_low, row.ci_high))
    return Interval(row.value, low, high)


def _index(row: Row) -> int:
    return int(row.settings["class_index"])


def _order(model: Model) -> tuple[int, int, str, int]:
    return list(ARMS).index(model.arm), model.images, model.source or "", model.synthetic
