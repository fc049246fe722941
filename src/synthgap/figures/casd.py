"""What figures and report read of study `casd` (paper D): its models, and a number of each.

A row of the study has `casd` in its settings: arm, images, sources and designs (`config.casd`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from synthgap.figures.arms import Number
from synthgap.figures.data import REAL
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
        model: {name: Number(tuple(of)) for name, of in found[model].items()}
        for model in sorted(found, key=_order)
    }


def control(rows: Iterable[Row], design: str) -> dict[str, Number]:
    """Return how real test images lie among the real images that a design is compared with.

    Only what does not depend on which images a model learnt from.
    """
    rows = list(rows)
    own = {_about(r)["distribution"] for r in of_study(rows) if design in _about(r)["designs"]}
    found: dict[str, Number] = {}
    for row in rows:
        if row.test_source == REAL and row.settings.get("distribution") in own:
            shared = _SHARED.match(row.metric)
            name = FRECHET if _FRECHET.match(row.metric) else shared.group(1) if shared else None
            if name:
                found[name] = Number((row,))
    return found


def shares(rows: Iterable[Row], design: str) -> dict[Model, dict[str, Number]]:
    """Return the shares of classes of a design's models: by model, by class."""
    found: dict[Model, dict[str, list[Row]]] = {}
    for row in of_study(rows):
        if row.metric == CLASS_SHARE and design in _about(row)["designs"]:
            name = str(row.settings["class"])
            found.setdefault(model_of(row), {}).setdefault(name, []).append(row)
    return {
        model: {
            name: Number(tuple(of))
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


def _about(row: Row) -> Mapping[str, Any]:
    told: Mapping[str, Any] = row.settings["casd"]
    return told


def _index(row: Row) -> int:
    return int(row.settings["class_index"])


def _order(model: Model) -> tuple[int, int, str, int]:
    return list(ARMS).index(model.arm), model.images, model.source or "", model.synthetic
