"""Density and coverage of the generated distributions (paper A, figure 5)."""

from __future__ import annotations

from typing import Any

import altair as alt

from synthgap.figures import data, labels, marks, planes, style
from synthgap.figures.data import BySource, Source
from synthgap.metrics.table import Row
from synthgap.metrics.table import rows as table_rows

_REAL = "real test images"


def draw(
    table: Any,
    *,
    architecture: str | None = None,
    distribution: str | None = None,
) -> alt.LayerChart | alt.ConcatChart:
    """Density (x) against coverage (y); colour is Synth->Real accuracy, shape the prompts.

    A thin line joins the kinds of prompt of one generator. The star is the real test split
    against the real training split: what a perfect generator would reach.

    Args:
        table: the metrics table.
        architecture: which rows, when the table holds several.
        distribution: the same, of the config's `distributions`.

    Raises:
        UserError: density, coverage or accuracy of a source, or the real reference, is missing or
            ambiguous.
    """
    sources, density, coverage, accuracy = _chosen(table_rows(table), architecture, distribution)
    kinds = data.prompt_kinds(sources)
    prompts = style.prompt_series(kinds)
    series = style.Series((*prompts.names, _REAL), shapes=(*prompts.shapes, style.STAR))
    rows = {
        source.name: _datum(density[source.name], coverage[source.name])
        | marks.number("accuracy", accuracy[source.name])
        | {"source": source.name, "label": source.generator}
        | {"series": data.prompt_title(source.prompts)}
        for source in sources
    }
    real = _datum(density[data.REAL], coverage[data.REAL]) | {"source": _REAL, "series": _REAL}
    every = [*rows.values(), real]
    plane = planes.Plane(
        planes.Axis(
            "Density: how crowded the generated images are among real ones",
            planes.reach(row.get(f"x{end}") for row in every for end in ("", "_low", "_high")),
        ),
        planes.Axis(
            "Coverage: share of real images reached",
            planes.reach(row.get(f"y{end}") for row in every for end in ("", "_low", "_high")),
            percent=True,
        ),
        height=380,
    )
    values = [row["accuracy"] for row in rows.values()]
    colour = alt.Color(
        "accuracy",
        type="quantitative",
        title="Synth→Real top-1 accuracy",
        scale=alt.Scale(scheme="viridis", domain=list(planes.reach(values, 0))),
        legend=alt.Legend(orient="top", gradientLength=240, tickCount=4, labelExpr=planes.PERCENT),
    )
    shape = series.shape(symbolFillColor=style.MUTED, symbolStrokeColor=style.MUTED)
    told = {"source": "Source", "x_text": "Density", "y_text": "Coverage", "n": "n"}
    muted = alt.value(style.MUTED)
    pairs = [[rows[s.name] for s in pair] for pair in data.pairs(sources)]
    of_real = {"fill": style.PAPER, "stroke": style.REAL_COLOUR, "size": 190, "strokeWidth": 1.2}
    of_sources = {"stroke": style.INK, "strokeWidth": 0.7, "size": 75}
    first = [rows[s.name] for s in sources if s.prompts == kinds[0]]
    layers = [
        *marks.pair_lines(pairs, plane),
        marks.intervals(every, plane, "x", width=1, color=muted),
        marks.intervals(every, plane, "y", width=1, color=muted),
        *labels.label_points(first, plane, marks=every),
        marks.points(
            list(rows.values()),
            plane,
            look=of_sources,
            color=colour,
            shape=shape,
            tooltip=marks.tips(**told, accuracy_text="Synth→Real top-1 accuracy"),
        ),
        marks.points([real], plane, look=of_real, shape=shape, tooltip=marks.tips(**told)),
    ]
    return style.finish(
        [style.Panel(plane, layers)],
        "Density and coverage of each source's images among real ones, with 95 % intervals; colour "
        "is the accuracy of a classifier trained on them, on real images.",
        series=series,
    )


def numbers(
    table: Any, *, architecture: str | None = None, distribution: str | None = None
) -> list[Row]:
    """The rows that `draw` shows."""
    sources, density, coverage, accuracy = _chosen(table_rows(table), architecture, distribution)
    found = [
        of[name] for name in (data.REAL, *(s.name for s in sources)) for of in (density, coverage)
    ]
    return [*found, *(accuracy[s.name] for s in sources)]


def _chosen(
    rows: list[Row], architecture: str | None, distribution: str | None
) -> tuple[list[Source], BySource, BySource, BySource]:
    """The sources, their density, coverage and Synth->Real accuracy."""
    sources = data.sources(rows)
    data.require_sources(sources)
    names = [s.name for s in sources]
    density = data.distribution(rows, "density", name=distribution)
    coverage = data.distribution(rows, "coverage", name=distribution)
    accuracy = data.synth_to_real(rows, architecture=architecture)
    data.require("density", density, [data.REAL, *names])
    data.require("coverage", coverage, [data.REAL, *names])
    data.require("top-1 accuracy on real images", accuracy, names)
    return sources, density, coverage, accuracy


def _datum(density: Row, coverage: Row) -> marks.Datum:
    across = marks.number("x", density, percent=False)
    return across | marks.number("y", coverage) | {"n": coverage.n}
