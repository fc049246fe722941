"""How many images a classifier needs to tell distributions apart (paper C, tables 1 and 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt

from synthgap.figures import marks, planes, style
from synthgap.figures.comparisons import (
    Look,
    classifier_looks,
    comparison_looks,
    comparisons,
    draw_chance,
    draw_points,
    rows_on,
    series_of,
)
from synthgap.metrics.table import Row
from synthgap.metrics.table import rows as table_rows

ACROSS = 2  # panels in a row
X_TITLE = "Training images of each distribution"


def draw(table: Any) -> alt.LayerChart | alt.ConcatChart:
    """Accuracy against the training images of each distribution, a line for each comparison.

    A panel for each classifier. The dotted lines are chance.

    Args:
        table: the metrics table.

    Raises:
        UserError: no rows of the study `distinguish` on the axis `samples`.
    """
    rows = rows_on(table_rows(table), "samples")
    looks = comparison_looks(comparisons(rows))
    classifiers = classifier_looks(rows)
    sizes = sorted({_each(row) for row in rows})
    ends = [end for row in rows for end in marks.interval(row)]
    plane = planes.Plane(
        planes.Axis(
            X_TITLE,
            planes.reach(sizes, 0.08, log=True),
            log=True,
            ticks=tuple(sizes) if len(sizes) <= 8 else (),
        ),
        planes.Axis(
            "Accuracy of telling the source (dotted: chance)",
            planes.reach([*ends, *(float(row.settings["chance"]) for row in rows)], 0.04),
            percent=True,
        ),
        width=480 if len(classifiers) == 1 else 340,
        height=280,
    )
    panels = []
    for classifier, told in classifiers.items():
        own = [row for row in rows if row.architecture == classifier]
        title = told.label if len(classifiers) > 1 else ""
        panels.append(style.Panel(plane, _layers(own, looks, plane), title))
    return style.finish(
        panels,
        "Accuracy of telling which source images are of, by the number of training images, a line "
        "for each comparison, with 95 % intervals, and what chance comes to.",
        series=series_of(looks.values()),
        columns=min(ACROSS, len(panels)),
    )


def _layers(rows: list[Row], looks: Mapping[str, Look], plane: planes.Plane) -> list[alt.Chart]:
    series, order = series_of(looks.values()), list(looks)
    found = sorted(rows, key=lambda row: (order.index(row.settings["comparison"]), _each(row)))
    values = [
        marks.number("y", row)
        | {"x": _each(row), "x_text": f"{_each(row):,}", "n": row.n}
        | {"series": looks[row.settings["comparison"]].label}
        | {"shift": style.dodge(order.index(row.settings["comparison"]), len(order), 3)}
        for row in found
    ]
    told = {"series": "Comparison", "x_text": X_TITLE, "y_text": "Accuracy", "n": "n"}
    thin = {"strokeWidth": 1.6}
    return [
        draw_chance(rows, plane),
        marks.lines(values, plane, "series", look=thin, stroke=series.stroke()),
        marks.intervals(values, plane, width=1.2, stroke=series.stroke()),
        draw_points(values, plane, series, told),
    ]


def numbers(table: Any) -> list[Row]:
    """The rows that `draw` shows."""
    return sorted(rows_on(table_rows(table), "samples"), key=_each)


def _each(row: Row) -> int:
    return int(row.settings["train_images"]) // len(row.settings["distributions"])
