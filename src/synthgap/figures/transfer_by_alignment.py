"""Synth->Real accuracy against how well generators follow their prompts (paper A, figure 3)."""

from __future__ import annotations

from typing import Any

import altair as alt

from synthgap.errors import UserError
from synthgap.figures import data, planes, style
from synthgap.figures.data import BySource, Source
from synthgap.figures.scatter import draw_scatter, ends, scatter_rows
from synthgap.figures.scores import Score, scores
from synthgap.metrics.table import Row
from synthgap.metrics.table import rows as table_rows


def draw(table: Any, *, architecture: str | None = None) -> alt.LayerChart | alt.ConcatChart:
    """Top-1 on real test images (y) against each score that was measured (x), a panel a score.

    Colour and shape tell the prompts. Which images a score is of stands at its axis, see
    `synthgap.figures.scores`. A thin line joins the kinds of prompt of one generator.

    Args:
        table: the metrics table.
        architecture: of the classifier; needed when the table holds several.

    Raises:
        UserError: no score in the table, or a source with a score without accuracy.
    """
    sources, found, accuracy = _chosen(table_rows(table), architecture)
    series = style.prompt_series(data.prompt_kinds(sources))
    up = "Synth→Real top-1 accuracy"
    of_scores = [
        scatter_rows(
            [s for s in sources if s.name in score.rows], score.rows, accuracy, percent=False
        )
        for score in found
    ]
    reached = planes.reach([end for rows in of_scores for end in ends(rows, "y")], 0.1)
    panels = []
    for place, (score, rows) in enumerate(zip(found, of_scores, strict=True)):
        across = f"Mean score {score.of}"
        plane = planes.Plane(
            planes.Axis(across, planes.reach(ends(rows, "x"), 0.1)),
            planes.Axis(up, reached, percent=True),
            width=330 if len(found) > 1 else 450,
            height=300,
            # Each score has a unit of its own.
            zoom=f"{planes.ZOOM}_{place}" if place else planes.ZOOM,
        )
        layers = draw_scatter(rows, plane, series, x_title=across, y_title=up)
        panels.append(style.Panel(plane, layers, score.title))
    return style.finish(
        panels,
        "Accuracy on real images of classifiers trained on generated ones, by how well the "
        "generators follow their prompts, with 95 % intervals; a panel for each score.",
        series=series,
        columns=2 if len(found) == 4 else min(3, len(found)),
    )


def numbers(table: Any, *, architecture: str | None = None) -> list[Row]:
    """The rows that `draw` shows."""
    _, found, accuracy = _chosen(table_rows(table), architecture)
    drawn = [row for score in found for row in score.rows.values()]
    names = dict.fromkeys(name for score in found for name in score.rows)
    return [*drawn, *(accuracy[name] for name in names)]


def _chosen(
    rows: list[Row], architecture: str | None
) -> tuple[list[Source], list[Score], BySource]:
    sources = data.sources(rows)
    data.require_sources(sources)
    found = scores(rows, sources)
    if not found:
        raise UserError("metrics table: no scores of images and prompts to draw")
    accuracy = data.synth_to_real(rows, architecture=architecture)
    named = dict.fromkeys(name for score in found for name in score.rows)
    data.require("top-1 accuracy on real images", accuracy, named)
    return sources, found, accuracy
