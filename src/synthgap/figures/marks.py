"""What stands on a plane: points with intervals, lines, references; and the rows behind them.

Rows are dictionaries with `x` and `y`, and where there are intervals `x_low`, `x_high`, `y_low`,
`y_high`. `shift` moves a mark sideways by so many pixels, whatever the zoom.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import altair as alt

from synthgap.figures.planes import Plane
from synthgap.figures.style import DASHES, MUTED, PAPER, REAL_COLOUR, faded
from synthgap.metrics.intervals import Interval
from synthgap.metrics.table import Row

Datum = dict[str, Any]
_SHIFT = alt.ExprRef("datum.shift || 0")


def chart_of(rows: Sequence[Datum]) -> Any:
    """A chart of rows, without marks yet."""
    return alt.Chart(alt.InlineData(values=list(rows)))


def number(field: str, of: Row | Interval, *, percent: bool = True, digits: int = 2) -> Datum:
    """A value for a datum, with its limits and how it is written: `x`, `x_low`, `x_text`..."""
    value, low, high = interval(of)
    found: Datum = {field: value}
    if low is not None and high is not None:
        found |= {f"{field}_low": low, f"{field}_high": high}
    return found | {f"{field}_text": told(of, percent=percent, digits=digits)}


def interval(of: Row | Interval) -> tuple[float, float | None, float | None]:
    """Value and limits; None for those that there are not."""
    if isinstance(of, Row):
        return of.value, of.ci_low, of.ci_high
    value, low, high = of
    return (value, None, None) if math.isnan(low) or math.isnan(high) else (value, low, high)


def told(of: Row | Interval, *, percent: bool = True, digits: int = 2) -> str:
    """Value and limits as the page writes them: "76.6 % [67.3, 83.7]"."""
    value, low, high = interval(of)

    def written(one: float) -> str:
        text = f"{100 * one:.1f}" if percent else f"{one:,.{digits}f}"
        if not any(digit in text for digit in "123456789"):
            text = text.lstrip("-")
        return text.replace("-", "−")

    text = written(value) + ("\N{NO-BREAK SPACE}%" if percent else "")
    return text if low is None or high is None else f"{text} [{written(low)}, {written(high)}]"


def tips(**titles: str) -> list[alt.Tooltip]:
    """A tooltip's lines: fields and what they are called."""
    return [alt.Tooltip(field, type="nominal", title=title) for field, title in titles.items()]


def points(
    rows: Sequence[Datum], plane: Plane, *, look: Mapping[str, Any] | None = None, **channels: Any
) -> alt.Chart:
    """A mark for each row, filled and with a paper edge unless `look` tells otherwise.

    Args:
        look: properties of the mark, such as `size`.
        channels: of Altair, such as `color`, `shape` and `tooltip`.
    """
    style: dict[str, Any] = {"filled": True, "stroke": PAPER, "strokeWidth": 1, "size": 60} | dict(
        look or {}
    )
    chart = chart_of(rows).mark_point(xOffset=_SHIFT, **style)
    found: alt.Chart = chart.encode(**_on(plane), **_seen(channels))
    return found


def intervals(
    rows: Sequence[Datum], plane: Plane, along: str = "y", *, width: float = 1.4, **channels: Any
) -> alt.Chart:
    """A bar from limit to limit of each row that has them; `along` "x" or "y"."""
    chart = chart_of(rows).transform_filter(f"isValid(datum.{along}_low)")
    chart = chart.mark_rule(xOffset=_SHIFT, x2Offset=_SHIFT, strokeWidth=width)
    if along == "y":
        ends = {"x": plane.across(), "y": plane.up("y_low"), "y2": alt.Y2("y_high")}
    else:
        ends = {"x": plane.across("x_low"), "x2": alt.X2("x_high"), "y": plane.up()}
    found: alt.Chart = chart.encode(**ends, **_seen(channels))
    return found


def lines(
    rows: Sequence[Datum],
    plane: Plane,
    detail: str,
    *,
    look: Mapping[str, Any] | None = None,
    **channels: Any,
) -> alt.Chart:
    """A line through the rows of each value of the field `detail`, in the order of their x."""
    style: dict[str, Any] = {"strokeWidth": 2} | dict(look or {})
    chart = chart_of(rows).mark_line(xOffset=_SHIFT, **style)
    found: alt.Chart = chart.encode(
        **_on(plane), detail=alt.Detail(detail, type="nominal"), **_seen(channels)
    )
    return found


def pair_lines(
    pairs: Iterable[Sequence[Datum]], plane: Plane, *, field: str = "pair"
) -> list[alt.Chart]:
    """A thin line between points that belong together; none where all are alone."""
    rows = [
        {"x": row["x"], "y": row["y"], field: place}
        for place, pair in enumerate(pairs)
        if len(pair) > 1
        for row in pair
    ]
    if not rows:
        return []
    chart = chart_of(rows).mark_line(stroke=MUTED, strokeWidth=0.8, opacity=0.6)
    order = alt.Order(field, type="quantitative")
    return [chart.encode(**_on(plane), detail=alt.Detail(field, type="nominal"), order=order)]


def diagonal(plane: Plane) -> alt.Chart:
    """The line where both axes are the same."""
    low = max(plane.x.domain[0], plane.y.domain[0])
    high = min(plane.x.domain[1], plane.y.domain[1])
    ends = [{"x": low, "y": low}, {"x": high, "y": high}]
    chart = chart_of(ends).mark_line(stroke=MUTED, strokeWidth=1, strokeDash=[5, 4])
    found: alt.Chart = chart.encode(**_on(plane))
    return found


def reference(
    of: Row | Interval,
    plane: Plane,
    label: str = "",
    along: str = "y",
    *,
    percent: bool = True,
    digits: int = 2,
    colour: str = REAL_COLOUR,
    name: str = "",
) -> list[alt.Chart]:
    """A dashed line through the whole panel at a value, a band from limit to limit, and its name.

    Args:
        label: written above the line's right end (`along` "y"); "" for none.
        along: the axis that the value is of.
        name: in its tooltip, where that is not the label.
    """
    row = number(along, of, percent=percent, digits=digits) | {"name": name or label}
    values = [row]
    channel = plane.up if along == "y" else plane.across
    told_tips = tips(name="Reference", **{f"{along}_text": "Value"})
    rule = chart_of(values).mark_rule(stroke=colour, strokeWidth=1.8, strokeDash=DASHES)
    found = []
    if f"{along}_low" in row:
        found.append(band(row, plane, along, colour=colour))
    found.append(rule.encode(**{along: channel(along)}, tooltip=told_tips))
    if label:
        text = chart_of(values).mark_text(
            align="right", baseline="bottom", dx=-2, dy=-4, fontSize=11, color=colour
        )
        found.append(text.encode(x=alt.value("width"), y=plane.up(), text=alt.Text("name:N")))
    return found


def band(row: Datum, plane: Plane, along: str, *, colour: str, opacity: float = 0.12) -> alt.Chart:
    """A band through the whole panel from a row's one limit to the other."""
    chart = chart_of([row]).mark_rect(fill=colour, opacity=opacity)
    if along == "y":
        ends: dict[str, Any] = {"y": plane.up("y_low"), "y2": alt.Y2("y_high")}
    else:
        ends = {"x": plane.across("x_low"), "x2": alt.X2("x_high")}
    found: alt.Chart = chart.encode(**ends)
    return found


def _on(plane: Plane) -> dict[str, Any]:
    return {"x": plane.across(), "y": plane.up()}


def _seen(channels: Mapping[str, Any]) -> dict[str, Any]:
    """Channels of what readers can choose; an `opacity` of None stays as it is."""
    found = {"opacity": faded()} | dict(channels)
    return {name: channel for name, channel in found.items() if channel is not None}
