"""How many images a classifier needs to tell distributions apart (paper C, tables 1 and 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from synthgap.figures import matplotlib_style as style
from synthgap.figures.comparisons import (
    Look,
    classifier_looks,
    comparison_looks,
    comparisons,
    rows_on,
)
from synthgap.figures.matplotlib_lines import line
from synthgap.metrics.table import Row
from synthgap.metrics.table import rows as table_rows


@style.styled
def draw(table: Any) -> Figure:
    """Accuracy against the training images of each distribution, a line for each comparison.

    A panel for each classifier.

    Args:
        table: the metrics table.

    Raises:
        UserError: no rows of the study `distinguish` on the axis `samples`.
    """
    rows = rows_on(table_rows(table), "samples")
    looks = comparison_looks(comparisons(rows))
    classifiers = classifier_looks(rows)
    across = min(2, len(classifiers))
    down = -(-len(classifiers) // across)
    figure = style.new_figure(6.4 if across == 1 else 4.2 * across, 3.4 * down + 0.8)
    grid = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    for axes, (classifier, told) in zip(grid.flat, classifiers.items(), strict=False):
        _panel(axes, [row for row in rows if row.architecture == classifier], looks)
        if len(classifiers) > 1:
            axes.set_title(told.label)
    sizes = sorted({_each(row) for row in rows})
    grid[0, 0].set_xticks(sizes)
    for axes in list(grid.flat)[len(classifiers) :]:
        axes.set_visible(False)
    for axes in list(grid.flat)[max(0, len(classifiers) - across) : len(classifiers)]:
        axes.set_xlabel("Training images of each distribution")
        axes.tick_params(labelbottom=True)
    for first in grid[:, 0]:
        first.set_ylabel("Accuracy of telling the source (dotted: chance)")
    keys = [style.marker_key(x.label, x.marker, x.colour, hollow=x.hollow) for x in looks.values()]
    style.legend_below(figure, keys)
    return figure


def _panel(axes: Axes, rows: list[Row], looks: Mapping[str, Look]) -> None:
    axes.set_xscale("log")
    for name in comparisons(rows):
        found = {_each(row): row for row in rows if row.settings["comparison"] == name}
        look = looks[name]
        at = {float(size): found[size] for size in sorted(found)}
        line(axes, at, look.colour, name, mfc="white" if look.hollow else look.colour)
    for chance in {row.settings["chance"] for row in rows}:
        axes.axhline(chance, color=style.MUTED, lw=1, ls=":", gid="chance")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.minorticks_off()
    style.percent_axis(axes.yaxis)


def numbers(table: Any) -> list[Row]:
    """The rows that `draw` shows."""
    return sorted(rows_on(table_rows(table), "samples"), key=_each)


def _each(row: Row) -> int:
    return int(row.settings["train_images"]) // len(row.settings["distributions"])
