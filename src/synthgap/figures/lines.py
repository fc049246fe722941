"""What figures with a line for each source share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from synthgap.figures import marks, planes, style
from synthgap.figures.data import Source
from synthgap.figures.marks import Datum
from synthgap.metrics.intervals import Interval
from synthgap.metrics.table import Row


def line_series(sources: Sequence[Source], *more: str) -> style.Series:
    """Generators, and `more` names, to choose from by a click; their names stand at the lines."""
    names = dict.fromkeys([*(source.generator for source in sources), *more])
    return style.Series(tuple(names), legend=False)


def line_rows(
    chosen: Sequence[Source],
    sources: Sequence[Source],
    points: Mapping[str, Mapping[float, Row]],
    kinds: Sequence[str],
) -> list[Datum]:
    """Rows of a line for each source, in a shade of its prompts' colour: the higher x, the darker.

    Args:
        chosen: the sources to draw, in drawing order.
        sources: all of the figure, which the shades are for.
        points: by source, rows by their place on the x axis, from left to right.
        kinds: of prompts, in drawing order.
    """
    found = []
    for source in chosen:
        colour = line_colour(source, sources, kinds)
        found += line_data(points[source.name], source.name, source.generator, colour)
    return found


def line_colour(source: Source, sources: Sequence[Source], kinds: Sequence[str]) -> str:
    """The shade of a source's line among those of all the figure's sources."""
    low, high = min(s.x for s in sources), max(s.x for s in sources)
    share = (source.x - low) / (high - low) if high > low else 0.5
    return style.shade(style.prompt_colour(source.prompts, kinds), share)


def line_data(
    at: Mapping[float, Row | Interval], source: str, label: str, colour: str, **more: Any
) -> list[Datum]:
    """The rows of one line: the label is its series, and written at its end."""
    about = {"source": source, "series": label, "label": label, "colour": colour, **more}
    found = []
    for x, of in at.items():
        row = {"x": x, "x_text": f"{x:,.10g}", **marks.number("y", of), **about}
        found.append(row | ({"n": of.n} if isinstance(of, Row) else {}))
    return found


def line_ends(rows: Sequence[Datum]) -> list[Datum]:
    """The last row of each line, for `labels.label_ends`."""
    return list({row["source"]: row for row in rows}.values())


def draw_lines(
    rows: Sequence[Datum],
    plane: planes.Plane,
    x_title: str,
    y_title: str = "Top-1 accuracy",
    *,
    look: Mapping[str, Any] | None = None,
) -> list[alt.Chart]:
    """Lines in their rows' colours, each point with its interval; `look` of the lines."""
    if not rows:
        return []
    colour = alt.Color("colour", type="nominal", scale=None)
    told = marks.tips(source="Source", x_text=x_title, y_text=y_title, n="n")
    thin = {"strokeWidth": 1.6} | dict(look or {})
    return [
        marks.lines(rows, plane, "source", color=colour, look=thin),
        marks.intervals(rows, plane, width=1.1, color=colour),
        marks.points(rows, plane, color=colour, tooltip=told, look={"size": 28, "strokeWidth": 0}),
    ]
