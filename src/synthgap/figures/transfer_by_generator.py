"""Synth->Real accuracy along the generators (paper A, figure 1)."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from synthgap.figures import data, style
from synthgap.figures.data import BySource, Source
from synthgap.metrics.table import Row
from synthgap.metrics.table import rows as table_rows


@style.styled
def draw(table: Any, *, architecture: str | None = None) -> Figure:
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

    figure = style.new_figure(6.8 if len(sources) <= 12 else 8.4, 4.6)
    axes = figure.add_subplot()
    real = found[data.REAL]
    axes.axhline(real.value, color=style.REAL_COLOUR, ls=(0, (5, 2)), gid="real", label="Real→Real")
    if real.ci_low is not None and real.ci_high is not None:
        axes.axhspan(real.ci_low, real.ci_high, color=style.REAL_COLOUR, alpha=0.12, lw=0)

    taken: list[style.Segment] = []
    for index, kind in enumerate(kinds):
        series = [s for s in sources if s.prompts == kind]
        points = [found[s.name] for s in series]
        bars = [bar for s in series for bar in style.bars(s.x, found[s.name])]
        errors = [style.error(row) for row in points]
        axes.errorbar(
            [s.x for s in series],
            [row.value for row in points],
            yerr=[[e[0][0] for e in errors], [e[1][0] for e in errors]],
            color=style.prompt_colour(kind, kinds),
            marker=style.prompt_marker(kind, kinds),
            markeredgecolor="white",
            elinewidth=1.2,
            transform=style.dodge(axes, index, len(kinds)),
            label=data.prompt_title(kind),
            gid=f"prompts-{kind}",
            zorder=3,
        )
        # A shifted series does not count for the limits of the axes by itself.
        axes.update_datalim([(x, y) for x0, y0, x1, y1 in bars for x, y in ((x0, y0), (x1, y1))])
        taken += bars
        heights = [row.value for row in points]
        taken += [
            (series[i].x, heights[i], series[i + 1].x, heights[i + 1])
            for i in range(len(series) - 1)
        ]

    xs = sorted({s.x for s in sources})
    if len(xs) <= 6:
        axes.set_xticks(xs, [f"{x:g}" for x in xs])
    elif sources[0].x_name == "release date":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(x=0.1, y=0.12)
    axes.autoscale_view()
    axes.set_xlabel(data.x_title(sources))
    axes.set_ylabel("Synth→Real top-1 accuracy")
    axes.set_title("Trained on generated images, tested on real ones")
    style.percent_axis(axes.yaxis)
    style.legend_below(figure, axes.get_legend_handles_labels()[0])
    first = [s for s in sources if s.prompts == kinds[0]]
    style.label_points(
        axes,
        [(s.x, found[s.name].value, s.generator) for s in first],
        taken,
    )
    return figure


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
