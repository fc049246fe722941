"""What figures with a point for each source share: two numbers with their intervals."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from synthgap.figures import data, labels, marks, style
from synthgap.figures.data import BySource, Source
from synthgap.figures.marks import Datum
from synthgap.figures.planes import Plane

_ENDS = ("", "_low", "_high")


def scatter_rows(
    sources: Sequence[Source], across: BySource, up: BySource, *, percent: bool = True
) -> list[Datum]:
    """A row for each source, from its numbers across and up; `percent`: of those across."""
    return [
        marks.number("x", across[source.name], percent=percent, digits=3)
        | marks.number("y", up[source.name])
        | {"source": source.name, "label": source.generator, "n": up[source.name].n}
        | {"series": data.prompt_title(source.prompts)}
        for source in sources
    ]


def ends(rows: Sequence[Datum], *axes: str) -> list[float | None]:
    """Values and limits along these axes, for `planes.reach`."""
    return [row.get(f"{along}{end}") for row in rows for along in axes for end in _ENDS]


def draw_scatter(
    rows: Sequence[Datum], plane: Plane, series: style.Series, *, x_title: str, y_title: str
) -> list[alt.Chart]:
    """Points with both intervals; thin lines join a generator's, of which the first has its name.

    Args:
        rows: of `scatter_rows`.
        series: the kinds of prompt.
        x_title: in tooltips, as `y_title`.
    """
    generators: dict[str, list[Datum]] = {}
    for row in rows:
        generators.setdefault(row["label"], []).append(row)
    told = marks.tips(source="Source", x_text=x_title, y_text=y_title, n="n")
    return [
        *marks.pair_lines(generators.values(), plane),
        marks.intervals(rows, plane, "x", width=1.1, color=series.colour()),
        marks.intervals(rows, plane, "y", width=1.1, color=series.colour()),
        *labels.label_points([of[0] for of in generators.values()], plane, marks=rows),
        marks.points(rows, plane, color=series.colour(), shape=series.shape(), tooltip=told),
    ]
