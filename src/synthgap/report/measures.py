"""The page's section on everything measured of a source's images: a table for each way of looking.

The metrics table says what there is: a group for each distribution (an encoder's features), one
for scores of images and prompts, one for replication; a column for each metric of a group.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from synthgap.figures.data import REAL
from synthgap.figures.metric_titles import TITLES, digits_for, title_of, variant_note
from synthgap.metrics.table import Row

STUDIES = {
    "alignment": "Images with their prompts",
    "replication": "Replication",
    "text-to-image": "Compositional benchmarks",
}
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
    control: str = "test"
    """the split of the real images that stand beside generated ones"""


def groups(rows: Sequence[Row]) -> list[Group]:
    """The section's tables, in the order of their titles; none where nothing was measured."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if (title := _title(row)) and row.test_source is not None:
            found.setdefault(title, []).append(row)
    return [_group(title, found[title]) for title in sorted(found)]


def _title(row: Row) -> str | None:
    if row.study == "text-to-image" and "benchmark" not in row.settings:
        return None  # the page has a table of its own for these
    if row.settings.get("casd"):
        return None  # and for the models of study D
    if row.settings.get("training") or row.settings.get("on_curve"):
        return None  # of study B's further trainings and models before their end
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
    # Distributions of test images are beside real ones of the test split, and so is their control.
    control = "training" if any(row.settings.get("split") == "test" for row in rows) else "test"
    return Group(
        title, sorted(names, key=lambda n: (n != REAL, n)), sorted(made, key=_order), least, control
    )


def _column(metric: str, rows: dict[str, Row]) -> MeasureColumn:
    title = title_of(metric)
    digits = digits_for(max(abs(row.value) for row in rows.values()))
    return MeasureColumn(title.with_arrow, variant_note(metric), rows, title.percent, digits)


def _order(column: MeasureColumn) -> tuple[int, str]:
    titles = [title.with_arrow for title in TITLES.values()]
    place = titles.index(column.title) if column.title in titles else len(titles)
    return place, column.title + column.note
