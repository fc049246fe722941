"""Real->Synth against Synth->Real (paper A, figure 6)."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from synthgap.figures import data
from synthgap.figures import matplotlib_style as style
from synthgap.figures.data import BySource, Source
from synthgap.metrics.table import Row
from synthgap.metrics.table import rows as table_rows


@style.styled
def draw(table: Any, *, architecture: str | None = None) -> Figure:
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
    names = [s.name for s in sources]
    kinds = data.prompt_kinds(sources)

    figure = style.new_figure(6.0, 6.2) if len(sources) <= 12 else style.new_figure(7.6, 7.8)
    axes = figure.add_subplot()
    for pair in data.pairs(sources):
        x = [forth[s.name].value for s in pair]
        style.pair_line(axes, x, [back[s.name].value for s in pair])
    for source in sources:
        across, up = forth[source.name], back[source.name]
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
    style.diagonal(axes)
    style.percent_axis(axes.xaxis)
    style.percent_axis(axes.yaxis)
    axes.set_xlabel("Real→Synth top-1 accuracy")
    axes.set_ylabel("Synth→Real top-1 accuracy")
    axes.set_title("Easy to recognise, hard to learn from?")
    keys = [
        style.marker_key(
            data.prompt_title(kind),
            style.prompt_marker(kind, kinds),
            style.prompt_colour(kind, kinds),
        )
        for kind in kinds
    ]
    style.legend_below(figure, keys)
    style.label_points(
        axes,
        [
            (forth[s.name].value, back[s.name].value, s.generator)
            for s in sources
            if s.prompts == kinds[0]
        ],
        [bar for n in names for bar in style.bars(forth[n], back[n])],
    )
    return figure


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
