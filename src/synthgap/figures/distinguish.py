"""How well each classifier tells distributions apart (paper C, tables 2 to 6 and figure 3)."""

from __future__ import annotations

from typing import Any

import altair as alt

from synthgap.figures import marks, planes, style
from synthgap.figures.comparisons import (
    classifier_looks,
    comparisons,
    draw_points,
    label,
    rows_on,
    series_of,
)
from synthgap.metrics.intervals import Interval
from synthgap.metrics.table import Row
from synthgap.metrics.table import rows as table_rows

STEP = 13  # from one classifier to the next, in pixels


def draw(table: Any) -> alt.LayerChart | alt.ConcatChart:
    """Accuracy on test images, a row for each comparison, a mark for each classifier.

    The short line in each row is chance. Controls, a source against itself, are at the bottom and
    must come out there.

    Args:
        table: the metrics table.

    Raises:
        UserError: no rows of the study `distinguish`.
    """
    rows = rows_on(table_rows(table), "main")
    names, looks = comparisons(rows), classifier_looks(rows)
    series = series_of(looks.values())
    order = list(looks)
    values = [
        marks.number("x", row)
        | {"y": label(row.settings["comparison"]), "series": looks[str(row.architecture)].label}
        | {"n": row.n}
        for row in sorted(rows, key=lambda r: _place(r, names, order))
    ]
    chances = {row.settings["comparison"]: float(row.settings["chance"]) for row in rows}
    ends = [end for row in rows for end in marks.interval(row)]
    plane = planes.Plane(
        planes.Axis(
            "Accuracy of telling the source of a test image (dashed: chance)",
            planes.reach([*ends, *chances.values(), 1.0], 0.03),
            percent=True,
        ),
        planes.Axis(names=tuple(label(name) for name in names), grid=False),
        width=460,
        height=len(names) * STEP * (len(looks) + 1),
    )
    beside = series.beside("y")
    told = {"y": "Comparison", "series": "Classifier", "x_text": "Accuracy", "n": "n"}
    layers = [
        *([_between(names, plane)] if len(names) > 1 else []),
        _chance([(label(name), chances[name]) for name in names], plane),
        marks.intervals(values, plane, "x", stroke=series.stroke(), yOffset=beside),
        draw_points(values, plane, series, told, yOffset=beside),
    ]
    return style.finish(
        [style.Panel(plane, layers)],
        "Accuracy of classifiers that tell which source a test image is of, a row for each "
        "comparison, with 95 % intervals, and what chance comes to.",
        series=series,
    )


def numbers(table: Any) -> list[Row]:
    """The rows that `draw` shows."""
    rows = rows_on(table_rows(table), "main")
    order = {name: place for place, name in enumerate(comparisons(rows))}
    return sorted(rows, key=lambda row: (order[row.settings["comparison"]], row.architecture or ""))


def _place(row: Row, names: list[str], classifiers: list[str]) -> tuple[int, int]:
    return names.index(row.settings["comparison"]), classifiers.index(str(row.architecture))


def _between(names: list[str], plane: planes.Plane) -> alt.Chart:
    """Thin lines between rows."""
    rows = [{"y": label(name)} for name in names[:-1]]
    chart = marks.chart_of(rows).mark_rule(stroke=style.GRID, strokeWidth=1)
    found: alt.Chart = chart.encode(y=plane.up().bandPosition(1))
    return found


def _chance(found: list[tuple[str, float]], plane: planes.Plane) -> alt.Chart:
    """A short line in each row."""
    rows = [
        marks.number("x", Interval(value, float("nan"), float("nan"))) | {"y": y, "name": "chance"}
        for y, value in found
    ]
    chart = marks.chart_of(rows).mark_rule(stroke=style.MUTED, strokeWidth=1.4, strokeDash=[4, 3])
    drawn: alt.Chart = chart.encode(
        x=plane.across(),
        y=plane.up().bandPosition(0.06),
        y2=alt.Y2("y", bandPosition=0.94),
        tooltip=marks.tips(name="Reference", x_text="Value"),
    )
    return drawn
