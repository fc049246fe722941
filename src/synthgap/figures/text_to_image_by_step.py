"""What models make as they learn: overfitting curves (paper B, figure 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt

from synthgap.errors import UserError
from synthgap.figures import marks, planes, style
from synthgap.figures.arms import Arm, Column, columns
from synthgap.figures.comparisons import Look, draw_points, look_of, series_of
from synthgap.figures.metric_titles import digits_for
from synthgap.metrics.intervals import Interval
from synthgap.metrics.table import Row
from synthgap.metrics.table import rows as table_rows

ACROSS = 3  # panels in a row


def draw(table: Any) -> alt.LayerChart | alt.ConcatChart:
    """A panel a metric, a line an arm: the number after so many steps of its first training.

    Intervals are of the images. The dashed line is what real images reach.

    Args:
        table: the metrics table.

    Raises:
        UserError: study B has no curve.
    """
    found = _found(table)
    arms = sorted({arm for c in found for arm in c.by_step}, key=lambda a: (a.order, a.prompts))
    looks = {arm: look_of(number, arm.label) for number, arm in enumerate(arms)}
    steps = [step for column in found for of in column.by_step.values() for step in of]
    axis = planes.Axis("Training steps", planes.reach(steps, 0.06), count=4)
    panels = [
        _panel(column, looks, axis, planes.ZOOM + (f"_{place}" if place else ""))
        for place, column in enumerate(found)
    ]
    return style.finish(
        panels,
        "A panel for each metric: what models come to after so many steps of their training, a "
        "line for each, with 95 % intervals.",
        series=series_of(looks.values()),
        columns=min(ACROSS, len(panels)),
    )


def numbers(table: Any) -> list[Row]:
    """The rows that `draw` shows."""
    found = _found(table)
    shown = [
        row
        for column in found
        for steps in column.by_step.values()
        for number in steps.values()
        for row in number.rows
    ]
    return [*shown, *(column.real for column in found if column.real)]


def _found(table: Any) -> list[Column]:
    found = [column for column in columns(table_rows(table)) if column.by_step]
    if not found:
        raise UserError("metrics table: study text-to-image has no curve to draw")
    return found


def _panel(column: Column, looks: Mapping[Arm, Look], axis: planes.Axis, zoom: str) -> style.Panel:
    series = series_of(looks.values())
    points = {
        (arm, step): number.rows[0]
        for arm in looks
        for step, number in column.by_step.get(arm, {}).items()
    }
    percent = column.title.percent
    digits = digits_for(max(abs(row.value) for row in points.values()))
    values = [
        marks.number("y", row, percent=percent, digits=digits)
        | {"x": step, "x_text": f"{step:,}", "series": looks[arm].label, "n": row.n}
        for (arm, step), row in points.items()
    ]
    ends = [end for row in points.values() for end in marks.interval(row)]
    if column.real:
        ends.append(column.real.value)
    plane = planes.Plane(
        axis, planes.Axis("", planes.reach(ends), percent=percent), width=230, height=190, zoom=zoom
    )
    layers: list[alt.Chart] = []
    if column.real:
        value = Interval(column.real.value, float("nan"), float("nan"))
        layers += marks.reference(
            value, plane, percent=percent, digits=digits, name="other real images"
        )
    told = {"series": "Model", "x_text": "Training steps", "y_text": column.title.text, "n": "n"}
    thin = {"strokeWidth": 1.4}
    layers += [
        marks.lines(values, plane, "series", look=thin, stroke=series.stroke()),
        marks.intervals(values, plane, width=1.1, stroke=series.stroke()),
        draw_points(values, plane, series, told),
    ]
    title = f"{column.title.text}{' ↑' if column.better > 0 else ' ↓'}"
    return style.Panel(plane, layers, title)
