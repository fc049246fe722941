"""What captions and augmentation make of models, metric by metric (paper B, tables 1 and 3)."""

from __future__ import annotations

from typing import Any

import altair as alt

from synthgap.errors import UserError
from synthgap.figures import data, marks, planes, style
from synthgap.figures.arms import Arm, Column, arms_of, columns
from synthgap.figures.metric_titles import digits_for
from synthgap.metrics.intervals import Interval
from synthgap.metrics.table import Row
from synthgap.metrics.table import rows as table_rows

ACROSS = 3  # panels in a row


def draw(table: Any) -> alt.LayerChart | alt.ConcatChart:
    """A panel a metric, a line an arm: its number with its interval.

    The band is the interval of the baseline, the dashed line what real images reach. Small marks
    are single trainings.

    Args:
        table: the metrics table.

    Raises:
        UserError: no numbers of study B.
    """
    found = _found(table)
    arms = arms_of(found)
    kinds = list(dict.fromkeys(arm.prompts for arm in arms))
    series = style.prompt_series(kinds)
    panels = [
        _panel(column, arms, series, labelled=place % ACROSS == 0)
        for place, column in enumerate(found)
    ]
    return style.finish(
        panels,
        "A panel for each metric: the number of each model with its prompts, its 95 % interval, "
        "single trainings, and the baseline's interval as a band.",
        series=series,
        columns=min(ACROSS, len(panels)),
    )


def numbers(table: Any) -> list[Row]:
    """The rows that `draw` shows."""
    found = _found(table)
    shown = [row for column in found for number in column.by_arm.values() for row in number.rows]
    return [*shown, *(column.real for column in found if column.real)]


def _found(table: Any) -> list[Column]:
    found = columns(table_rows(table))
    if not found:
        raise UserError("metrics table: no numbers of the study text-to-image to draw")
    return found


def _panel(column: Column, arms: list[Arm], series: style.Series, *, labelled: bool) -> style.Panel:
    note = ", ".join(part for part in (column.note, column.distribution) if part)
    digits = digits_for(max(abs(n.interval.value) for n in column.by_arm.values()))
    rows, trainings = [], []
    for arm in arms:
        number = column.by_arm.get(arm)
        if number is None:
            continue
        at = {"y": arm.label, "series": data.prompt_title(arm.prompts)}
        told = column.interval(number)
        rows.append(
            marks.number("x", told, percent=column.title.percent, digits=digits)
            | at
            | {"trainings": number.trainings, "n": number.rows[0].n, "baseline": arm.is_baseline}
        )
        if number.trainings > 1:
            trainings += [{"x": row.value, **at} for row in number.rows]
    ends = [row.get(f"x{end}") for row in rows for end in ("", "_low", "_high")]
    ends += [row["x"] for row in trainings]
    if column.real:
        ends.append(column.real.value)
    plane = planes.Plane(
        planes.Axis(note, planes.reach(ends), percent=column.title.percent, count=4),
        planes.Axis(names=tuple(arm.label for arm in arms), labels=labelled),
        width=210,
        height=28 * len(arms),
        zoom="",
    )
    layers: list[alt.Chart] = []
    for row in rows:
        if row["baseline"] and "x_low" in row:
            colour = series.colours[series.names.index(row["series"])]
            layers.append(marks.band(row, plane, "x", colour=colour, opacity=0.1))
    if column.real:
        value = Interval(column.real.value, float("nan"), float("nan"))
        layers += marks.reference(
            value,
            plane,
            along="x",
            percent=column.title.percent,
            digits=digits,
            name="other real images",
        )
    layers.append(marks.intervals(rows, plane, "x", width=2, color=series.colour()))
    if trainings:
        look = {"shape": "stroke", "angle": 90, "filled": False, "stroke": style.MUTED}
        layers.append(marks.points(trainings, plane, look=look | {"size": 50}))
    told_tips = marks.tips(y="Model", x_text=column.title.text, trainings="Trainings", n="n")
    layers.append(
        marks.points(rows, plane, color=series.colour(), shape=series.shape(), tooltip=told_tips)
    )
    title = f"{column.title.text}{' ↑' if column.better > 0 else ' ↓'}"
    return style.Panel(plane, layers, title)
