"""Synth->Real accuracy along the generators (paper A, figure 1)."""

from __future__ import annotations

import itertools
from typing import Any

import altair as alt

from synthgap.figures import data, labels, marks, planes, style
from synthgap.figures.data import BySource, Source
from synthgap.metrics.table import Row
from synthgap.metrics.table import rows as table_rows


def draw(table: Any, *, architecture: str | None = None) -> alt.LayerChart | alt.ConcatChart:
    """Top-1 on real test images against the generator's x, one line per kind of prompt.

    A dashed line with a band is Real->Real, what real training images reach.

    Args:
        table: the metrics table (see `synthgap.metrics.table`).
        architecture: of the classifier; needed when the table holds several.

    Raises:
        UserError: Real->Real or a Synth->Real accuracy is missing or ambiguous.
    """
    sources, found = _chosen(table_rows(table), architecture)
    kinds = data.prompt_kinds(sources)
    series = style.prompt_series(kinds)
    real = found[data.REAL]
    rows = [
        {"x": source.x, **marks.number("y", found[source.name]), "n": found[source.name].n}
        | {"source": source.name, "x_text": data.place(source), "label": source.generator}
        | {"series": data.prompt_title(source.prompts)}
        | {"shift": style.dodge(kinds.index(source.prompts), len(kinds))}
        for source in sources
    ]
    plane = planes.Plane(
        _x_axis(sources),
        planes.Axis(
            "Synth→Real top-1 accuracy",
            planes.reach(end for row in [*found.values()] for end in marks.interval(row)),
            percent=True,
        ),
        width=560 if len(sources) <= 12 else 700,
    )
    of_kinds = [[row for row in rows if row["series"] == name] for name in series.names]
    low, high = plane.x.domain
    of_real = (low, real.value, high, real.value)
    between = [
        (one["x"], one["y"], other["x"], other["y"])
        for chosen in of_kinds
        for one, other in itertools.pairwise(chosen)
    ]
    told = {"source": "Source", "x_text": data.x_title(sources), "n": "n"}
    told["y_text"] = "Synth→Real top-1 accuracy"
    layers = [
        *marks.reference(real, plane, "Real→Real"),
        marks.lines(rows, plane, "series", color=series.colour()),
        marks.intervals(rows, plane, color=series.colour()),
        *labels.label_points(of_kinds[0], plane, marks=rows, lines=[of_real, *between]),
        marks.points(
            rows, plane, color=series.colour(), shape=series.shape(), tooltip=marks.tips(**told)
        ),
    ]
    return style.finish(
        [style.Panel(plane, layers)],
        "Accuracy on real images of classifiers trained on generated ones, by the generator's "
        f"{sources[0].x_name}, with 95 % intervals, and what real training images reach.",
        series=series,
    )


def numbers(table: Any, *, architecture: str | None = None) -> list[Row]:
    """The rows that `draw` shows."""
    sources, found = _chosen(table_rows(table), architecture)
    return [found[name] for name in (data.REAL, *(s.name for s in sources))]


def _chosen(rows: list[Row], architecture: str | None) -> tuple[list[Source], BySource]:
    sources = data.sources(rows)
    found = data.synth_to_real(rows, architecture=architecture)
    data.require("top-1 accuracy on real images", found, [data.REAL, *(s.name for s in sources)])
    data.require_sources(sources)
    return sources, found


def _x_axis(sources: list[Source]) -> planes.Axis:
    xs = sorted({source.x for source in sources})
    return planes.Axis(
        data.x_title(sources),
        planes.reach(xs, 0.1),
        ticks=tuple(xs) if len(xs) <= 6 else (),
        whole=sources[0].x_name == "release date",
    )
