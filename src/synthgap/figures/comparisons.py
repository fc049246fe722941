"""What the figures of study C share: comparisons by name, in an order, each with a look."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

import altair as alt

from synthgap.errors import UserError
from synthgap.figures import marks, planes, style
from synthgap.figures.data import ACCURACY, REAL
from synthgap.metrics.intervals import Interval
from synthgap.metrics.table import Row

LINEAR = "linear-"
# Strokes alone, which have no inside.
CROSSES = ("M-1.1,-1.1L1.1,1.1M-1.1,1.1L1.1,-1.1", "M-1.4,0L1.4,0M0,-1.4L0,1.4")
FILES = {
    "headers": ("file headers (control)", CROSSES[0]),
    "metadata": ("files' lengths", CROSSES[1]),
}
PEOPLE = "people"
HUMAN = "human_accuracy"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", style.INK)
SHAPES = ("circle", "square", *style.SPARE_SHAPES, "triangle-left")


def rows_on(rows: Iterable[Row], axis: str, metric: str = ACCURACY) -> list[Row]:
    """Rows of study C over all seeds, on one axis: `main`, `views` or `samples`.

    Raises:
        UserError: there are none.
    """
    found = [
        row
        for row in rows
        if row.study == "distinguish"
        and row.seed is None
        and (row.metric == metric or (row.metric, metric) == (HUMAN, ACCURACY))
        and row.settings.get("axis") == axis
    ]
    if not found:
        raise UserError(f"metrics table: no {metric} of the study distinguish ({axis}) to draw")
    return found


def comparisons(rows: Iterable[Row]) -> list[str]:
    """Names of comparisons: with real images first, the larger later, the controls last."""
    seen = {row.settings["comparison"]: row for row in rows}

    def order(name: str) -> tuple[bool, int, bool, str]:
        row = seen[name]
        sources = row.settings["distributions"]
        return row.settings["control"], len(sources), REAL not in sources, name

    return sorted(seen, key=order)


def label(comparison: str) -> str:
    """A comparison in words."""
    sources = comparison.split("+")
    if len(set(sources)) == 1:
        return f"{sources[0]} against itself (control)"
    return " | ".join(sources)


@dataclass(frozen=True)
class Look:
    """How a series is drawn."""

    label: str
    colour: str
    shape: str
    hollow: bool = False


def look_of(number: int, name: str, *, hollow: bool = False) -> Look:
    """The look of a series by its place: those that share a colour differ in shape."""
    turn = number // len(COLOURS)
    colour, shape = COLOURS[number % len(COLOURS)], SHAPES[(number + turn) % len(SHAPES)]
    return Look(name, colour, shape, hollow)


def classifier_looks(rows: Iterable[Row]) -> dict[str, Look]:
    """Looks of classifiers by name, in the study's order: networks, probes, people, files."""
    places = {str(row.architecture): int(row.settings.get("order", 0)) for row in rows}

    def order(name: str) -> tuple[int, int, str]:
        kind = [name.startswith(LINEAR), name == PEOPLE, name in FILES]
        return (1 + kind.index(True) if any(kind) else 0), places[name], name

    looks = {}
    for number, name in enumerate(sorted(places, key=order)):
        if name in FILES:
            looks[name] = Look(FILES[name][0], style.MUTED, FILES[name][1])
        elif name == PEOPLE:
            looks[name] = Look("people", style.INK, style.STAR)
        else:
            linear = name.startswith(LINEAR)
            words = f"linear probe of {name.removeprefix(LINEAR)}" if linear else name
            looks[name] = look_of(number, words, hollow=linear)
    return looks


def comparison_looks(names: Sequence[str]) -> dict[str, Look]:
    """Looks of comparisons by name; controls are grey and hollow."""
    looks, number, controls = {}, 0, 0
    for name in names:
        if len(set(name.split("+"))) == 1:
            shape = SHAPES[controls % len(SHAPES)]
            looks[name] = Look(label(name), style.MUTED, shape, hollow=True)
            controls += 1
        else:
            looks[name] = look_of(number, label(name))
            number += 1
    return looks


def series_of(looks: Iterable[Look]) -> style.Series:
    """Looks as what a legend tells apart; the field `series` holds their labels."""
    found = list(looks)
    return style.Series(
        tuple(look.label for look in found),
        tuple(look.colour for look in found),
        tuple(look.shape for look in found),
        tuple(style.PAPER if look.hollow else look.colour for look in found),
    )


def draw_points(
    rows: Sequence[marks.Datum],
    plane: planes.Plane,
    series: style.Series,
    told: dict[str, str],
    **channels: Any,
) -> alt.Chart:
    """Marks in the looks of their series, full or hollow; `told` is their tooltip."""
    return marks.points(
        rows,
        plane,
        look={"stroke": None, "strokeWidth": 1.5, "size": 45},
        fill=series.fill(),
        stroke=series.stroke(),
        shape=series.shape(),
        tooltip=marks.tips(**told),
        **channels,
    )


def draw_chance(rows: Iterable[Row], plane: planes.Plane) -> alt.Chart:
    """A dotted line for each height that chance has in rows."""
    return draw_dotted({float(row.settings["chance"]) for row in rows}, "chance", plane)


def draw_dotted(heights: Iterable[float], name: str, plane: planes.Plane) -> alt.Chart:
    """Dotted lines through the whole panel; `name` is in their tooltips."""
    values = [marks.number("y", Interval(y, nan, nan)) | {"name": name} for y in sorted(heights)]
    chart = marks.chart_of(values).mark_rule(
        stroke=style.MUTED, strokeWidth=1.2, strokeDash=[1.5, 3]
    )
    told = marks.tips(name="Reference", y_text="Value")
    found: alt.Chart = chart.encode(y=plane.up(), tooltip=told)
    return found
