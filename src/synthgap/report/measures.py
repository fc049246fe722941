"""The page's section on everything measured of a source's images: a table for each way of looking.

The metrics table says what there is: a group for each distribution (an encoder's features), one
for scores of images and prompts, one for replication; a column for each metric of a group.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from synthgap.figures.data import REAL
from synthgap.metrics.table import Row

# Plain name of a metric -> title, whether it is a share. The order is that of the columns.
TITLES = {
    "density": ("Density", False),
    "coverage": ("Coverage", True),
    "precision": ("Precision", True),
    "recall": ("Recall", True),
    "fid": ("FID ↓", False),
    "kid": ("KID ↓", False),
    "fd_dinov2": ("FD-DINOv2 ↓", False),
    "kd_dinov2": ("KD-DINOv2 ↓", False),
    "fd": ("Fréchet distance ↓", False),
    "kd": ("Kernel distance ↓", False),
    "vendi_within_class": ("Vendi score within classes", False),
    "class_probability": ("Probability of the class asked for ↑", True),
    "lpips": ("LPIPS to the nearest training image ↑", False),
    "ssim": ("SSIM with the nearest training image ↓", False),
}
STUDIES = {
    "alignment": "Images with their prompts",
    "replication": "Replication",
    "text-to-image": "Compositional benchmarks",
}
_WORDS = {"euclidean": "Euclidean", "gaussian": "Gaussian", "rgb": "RGB", "all-pairs": "all pairs"}
_OF_CLASS = re.compile(r"coverage_of_class_")
_LISTED = 3


@dataclass(frozen=True)
class MeasureColumn:
    """A metric of all sources."""

    title: str
    note: str
    rows: dict[str, Row]
    percent: bool
    digits: int


@dataclass(frozen=True)
class Group:
    """A table of the section; `collapsed` lists each source's classes that are covered least."""

    title: str
    names: list[str]
    """of what was measured, a row each"""
    columns: list[MeasureColumn]
    collapsed: dict[str, list[Row]]


def groups(rows: Sequence[Row]) -> list[Group]:
    """The section's tables, in the order of their titles; none where nothing was measured."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if (title := _title(row)) and row.test_source is not None:
            found.setdefault(title, []).append(row)
    return [_group(title, found[title]) for title in sorted(found)]


def _title(row: Row) -> str | None:
    if row.study == "transfer" and "distribution" in row.settings:
        name = row.settings["distribution"]
        called = "" if name == row.encoder else f"{name}: "
        seen = "images" if row.view == "rgb" else f"images in the view {row.view},"
        text = f"{called}{seen} as the encoder {row.encoder} sees them"
        return text[:1].upper() + text[1:]
    return STUDIES.get(row.study)


def _group(title: str, rows: list[Row]) -> Group:
    columns: dict[str, dict[str, Row]] = {}
    classes: dict[str, list[Row]] = {}
    for row in rows:
        if _OF_CLASS.match(row.metric):
            classes.setdefault(str(row.test_source), []).append(row)
        elif "class" not in row.settings:
            columns.setdefault(row.metric, {})[str(row.test_source)] = row
    least = {
        source: sorted(found, key=lambda row: (row.value, row.settings["class"]))[:_LISTED]
        for source, found in classes.items()
        if source != REAL
    }
    made = [_column(metric, by_source) for metric, by_source in columns.items()]
    names = {name for column in made for name in column.rows}
    return Group(
        title, sorted(names, key=lambda n: (n != REAL, n)), sorted(made, key=_order), least
    )


def _column(metric: str, rows: dict[str, Row]) -> MeasureColumn:
    name = _plain(metric)
    title, percent = TITLES.get(name, (metric.replace("_", " "), False))
    variant = metric.removeprefix(name).strip("_").replace("_", " ") if name in TITLES else ""
    # Numbers of such different sizes as FID and KID, each with three digits that say something.
    largest = max(abs(row.value) for row in rows.values())
    digits = 2 if largest >= 1 else 3 if largest >= 0.1 else 5
    return MeasureColumn(title, _note(variant), rows, percent, digits)


def _plain(metric: str) -> str:
    """The longest name of `TITLES` that a metric's name begins with, or all of it."""
    known = [name for name in TITLES if metric == name or metric.startswith(f"{name}_")]
    return max(known, key=len, default=metric)


def _note(variant: str) -> str:
    """`k5 euclidean` -> "k = 5, Euclidean"; `n500` -> "of 500 images"."""
    words = variant.removesuffix("nearest").replace("all pairs", "all-pairs").split()
    words = [re.sub(r"^k(\d+)$", r"k = \1", word) for word in words]
    words = [re.sub(r"^n(\d+)$", r"of \1 images", word) for word in words]
    return ", ".join(_WORDS.get(word, word) for word in words)


def _order(column: MeasureColumn) -> tuple[int, str]:
    titles = [title for title, _ in TITLES.values()]
    place = titles.index(column.title) if column.title in titles else len(titles)
    return place, column.title + column.note
