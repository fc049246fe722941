"""The page's list of classes that a source teaches worst, and what they are taken for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from synthgap.figures.data import REAL, Source

LISTED = 3


@dataclass(frozen=True)
class LostClass:
    """A class of real test images that classifiers trained on a source often get wrong."""

    name: str
    accuracy: float
    """of those trained on the source, 0..1"""
    real: float
    """of those trained on real images"""
    taken_for: str | None
    """the class that it is most often taken for"""
    share: float
    """how often, 0..1"""


def lost_classes(
    table: Sequence[Mapping[str, Any]], sources: Sequence[Source]
) -> dict[str, list[LostClass]]:
    """The classes in which each source is furthest behind real images; at most three of each.

    Args:
        table: rows of `synthgap.metrics.predictions.CLASSES_SCHEMA`.
        sources: to be told of, in this order; one that is behind in no class is left out.
    """
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in table:
        if (row["probe"], row["test_source"]) == ("rgb", REAL):
            found.setdefault(row["train_source"], {})[row["class_name"]] = row
    real = found.get(REAL, {})
    lost = {}
    for source in sources:
        classes = [
            LostClass(
                name,
                row["accuracy"],
                real[name]["accuracy"],
                row["taken_for"],
                row["share_taken_for"],
            )
            for name, row in found.get(source.name, {}).items()
            if name in real and row["accuracy"] < real[name]["accuracy"]
        ]
        if classes:
            classes.sort(key=lambda one: (one.accuracy - one.real, one.name))
            lost[source.name] = classes[:LISTED]
    return lost
