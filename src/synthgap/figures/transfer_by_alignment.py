"""Synth->Real accuracy against how well generators follow their prompts (paper A, figure 3)."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.figure import Figure

from synthgap.errors import UserError
from synthgap.figures import data
from synthgap.figures import matplotlib_style as style
from synthgap.figures.data import BySource, Source
from synthgap.figures.scores import Score, scores
from synthgap.metrics.table import Row
from synthgap.metrics.table import rows as table_rows


@style.styled
def draw(table: Any, *, architecture: str | None = None) -> Figure:
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
    kinds = data.prompt_kinds(sources)
    columns = 2 if len(found) == 4 else min(3, len(found))
    lines = math.ceil(len(found) / columns)
    figure = style.new_figure(max(5.6, 4.4 * columns), 4.1 * lines + 0.4)
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True).ravel()
    for axes in grid[len(found) :]:
        axes.remove()
    for axes, score in zip(grid, found, strict=False):
        drawn = [s for s in sources if s.name in score.rows]
        for pair in data.pairs(drawn):
            x = [score.rows[s.name].value for s in pair]
            style.pair_line(axes, x, [accuracy[s.name].value for s in pair])
        for source in drawn:
            across, up = score.rows[source.name], accuracy[source.name]
            axes.errorbar(
                [across.value],
                [up.value],
                xerr=style.error(across),
                yerr=style.error(up),
                color=style.prompt_colour(source.prompts, kinds),
                elinewidth=1.0,
                marker=style.prompt_marker(source.prompts, kinds),
                markeredgecolor="white",
                gid=source.name,
                zorder=3,
            )
        axes.margins(0.12)
        axes.set_title(score.title)
        axes.set_xlabel(f"Mean score {score.of}")
        style.percent_axis(axes.yaxis)
    for row in range(lines):
        grid[row * columns].set_ylabel("Synth→Real top-1 accuracy")
    keys = [
        style.marker_key(
            data.prompt_title(kind),
            style.prompt_marker(kind, kinds),
            style.prompt_colour(kind, kinds),
        )
        for kind in kinds
    ]
    style.legend_below(figure, keys)
    for axes, score in zip(grid, found, strict=False):
        drawn = [s for s in sources if s.name in score.rows]
        style.label_points(
            axes,
            [
                (score.rows[s.name].value, accuracy[s.name].value, s.generator)
                for s in drawn
                if s.prompts == kinds[0]
            ],
            [bar for s in drawn for bar in style.bars(score.rows[s.name], accuracy[s.name])],
        )
    return figure


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
