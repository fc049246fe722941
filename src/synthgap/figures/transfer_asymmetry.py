"""Real->Synth against Synth->Real (paper A, figure 6)."""

from __future__ import annotations

from typing import Any

import altair as alt

from synthgap.figures import data, marks, planes, style
from synthgap.figures.data import BySource, Source
from synthgap.figures.scatter import draw_scatter, ends, scatter_rows
from synthgap.metrics.table import Row
from synthgap.metrics.table import rows as table_rows


def draw(table: Any, *, architecture: str | None = None) -> alt.LayerChart | alt.ConcatChart:
    """Each source as a test set for the real classifier (x) and as a training set (y).

    Below the diagonal, a source is easy to recognise yet teaches little about real images. A thin
    line joins the kinds of prompt of one generator.

    Args:
        table: the metrics table.
        architecture: of the classifier; needed when the table holds several.

    Raises:
        UserError: an accuracy of a source is missing or ambiguous.
    """
    sources, forth, back = _chosen(table_rows(table), architecture)
    series = style.prompt_series(data.prompt_kinds(sources))
    rows = scatter_rows(sources, forth, back)
    across, up = "Real→Synth top-1 accuracy", "Synth→Real top-1 accuracy"
    both = planes.reach(ends(rows, "x", "y"), 0.06)
    side = 400 if len(sources) <= 12 else 520
    plane = planes.Plane(
        planes.Axis(across, both, percent=True),
        planes.Axis(up, both, percent=True),
        width=side,
        height=side,
    )
    layers = [
        marks.diagonal(plane),
        *draw_scatter(rows, plane, series, x_title=across, y_title=up),
    ]
    return style.finish(
        [style.Panel(plane, layers)],
        "Accuracy on each source's images of a classifier trained on real ones (across), and on "
        "real images of a classifier trained on the source's (up), with 95 % intervals.",
        series=series,
    )


def numbers(table: Any, *, architecture: str | None = None) -> list[Row]:
    """The rows that `draw` shows."""
    sources, forth, back = _chosen(table_rows(table), architecture)
    return [found[s.name] for s in sources for found in (forth, back)]


def _chosen(rows: list[Row], architecture: str | None) -> tuple[list[Source], BySource, BySource]:
    """The sources, Real->Synth and Synth->Real."""
    sources = data.sources(rows)
    data.require_sources(sources)
    names = [s.name for s in sources]
    forth = data.real_to_synth(rows, architecture=architecture)
    back = data.synth_to_real(rows, architecture=architecture)
    data.require("Real->Synth accuracy", forth, names)
    data.require("Synth->Real accuracy", back, names)
    return sources, forth, back
