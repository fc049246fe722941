"""Density and coverage of the generated distributions (paper A, figure 5)."""

from __future__ import annotations

from typing import Any

from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from synthgap.figures import data, style
from synthgap.figures.data import BySource, Source
from synthgap.metrics.table import Row
from synthgap.metrics.table import rows as table_rows


@style.styled
def draw(
    table: Any,
    *,
    architecture: str | None = None,
    distribution: str | None = None,
) -> Figure:
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
    names = [s.name for s in sources]
    kinds = data.prompt_kinds(sources)

    figure = style.new_figure(7.2, 5.2)
    axes = figure.add_subplot()
    values = [accuracy[name].value for name in names]
    colours: Any = ScalarMappable(Normalize(min(values), max(values)), "viridis")
    for pair in data.pairs(sources):
        x = [density[s.name].value for s in pair]
        style.pair_line(axes, x, [coverage[s.name].value for s in pair])
    for source in sources:
        across, up = density[source.name], coverage[source.name]
        axes.errorbar(
            [across.value],
            [up.value],
            xerr=style.error(across),
            yerr=style.error(up),
            color=colours.to_rgba(accuracy[source.name].value),
            ecolor=style.MUTED,
            elinewidth=0.8,
            marker=style.prompt_marker(source.prompts, kinds),
            markersize=7.5,
            markeredgecolor=style.INK,
            markeredgewidth=0.6,
            gid=source.name,
            zorder=3,
        )
    across, up = density[data.REAL], coverage[data.REAL]
    axes.errorbar(
        [across.value],
        [up.value],
        xerr=style.error(across),
        yerr=style.error(up),
        color=style.REAL_COLOUR,
        elinewidth=0.8,
        marker="*",
        markersize=13,
        markerfacecolor="white",
        gid=data.REAL,
        zorder=4,
    )
    axes.margins(0.1)
    axes.set_xlabel("Density: how crowded the generated images are among real ones")
    axes.set_ylabel("Coverage: share of real images reached")
    axes.set_title("What the generators cover of the real distribution")
    style.percent_axis(axes.yaxis)
    bar = figure.colorbar(colours, ax=axes, shrink=0.85, aspect=28)
    bar.set_label("Synth→Real top-1 accuracy")
    bar.outline.set_visible(False)
    style.percent_axis(bar.ax.yaxis)
    keys = [
        style.marker_key(data.prompt_title(kind), style.prompt_marker(kind, kinds), style.MUTED)
        for kind in kinds
    ]
    keys.append(style.marker_key("real test images", "*", style.REAL_COLOUR, hollow=True))
    style.legend_below(figure, keys)
    first = [s for s in sources if s.prompts == kinds[0]]
    style.label_points(
        axes,
        [(density[s.name].value, coverage[s.name].value, s.generator) for s in first],
        [bar for n in [data.REAL, *names] for bar in style.bars(density[n], coverage[n])],
    )
    return figure


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
