"""Accuracy on real images by the number of training images (paper A, appendix A)."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from synthgap.errors import UserError
from synthgap.figures import data, style
from synthgap.figures.data import REAL, Source
from synthgap.figures.lines import End, draw_lines, line
from synthgap.metrics.table import Row
from synthgap.metrics.table import rows as table_rows

Points = dict[str, dict[float, Row]]


@style.styled
def draw(table: Any) -> Figure:
    """Top-1 on real test images against the number of training images, a line a source.

    A panel for each kind of prompt; the dark line in each is real training images. The higher a
    generator's x, the darker its line.

    Args:
        table: the metrics table.

    Raises:
        UserError: no rows of the study `scaling`, or two for the same number.
    """
    sources, points = _chosen(table_rows(table))
    kinds = data.prompt_kinds(sources)
    columns = max(1, len(kinds))
    figure = style.new_figure(4.9 * columns + 0.4, 4.6)
    grid = figure.subplots(1, columns, squeeze=False, sharey=True)[0]
    sizes = sorted({size for at in points.values() for size in at})
    ends: list[list[End]] = []
    for place, axes in enumerate(grid):
        axes.set_xscale("log")
        ends.append([])
        if kinds:
            chosen = [s for s in sources if s.prompts == kinds[place]]
            ends[-1] += draw_lines(axes, chosen, points, kinds)
            title = data.prompt_title(kinds[place])
            axes.set_title(title[:1].upper() + title[1:])
        if REAL in points:
            line(axes, points[REAL], style.REAL_COLOUR, REAL, width=2, ls=(0, (5, 2)))
            last = max(points[REAL])
            ends[-1].append((last, points[REAL][last].value, "real images", style.REAL_COLOUR))
        _size_axis(axes, sizes)
        style.percent_axis(axes.yaxis)
    grid[0].set_ylabel("Top-1 accuracy on real images")
    for axes, names in zip(grid, ends, strict=True):
        style.label_ends(axes, names)
    return figure


def numbers(table: Any) -> list[Row]:
    """The rows that `draw` shows."""
    sources, points = _chosen(table_rows(table))
    names = [name for name in (REAL, *(s.name for s in sources)) if name in points]
    return [row for name in names for row in points[name].values()]


def _chosen(rows: list[Row]) -> tuple[list[Source], Points]:
    by_fraction = data.by_share(rows, "scaling", "fraction")
    if not by_fraction:
        raise UserError("metrics table: no rows of the study scaling to draw")
    # Of small classes, two fractions can come to the same images; the larger one stands for both.
    points: Points = {
        name: {row.settings["train_images"]: row for _, row in sorted(of.items())}
        for name, of in by_fraction.items()
    }
    return [s for s in data.sources(rows) if s.name in points], points


def _size_axis(axes: Axes, sizes: list[float]) -> None:
    if len(sizes) <= 5:
        axes.set_xticks(sizes)
    else:
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.minorticks_off()
    axes.set_xlabel("Training images")
