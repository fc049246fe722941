"""What models make as they learn: overfitting curves (paper B, figure 3)."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from synthgap.errors import UserError
from synthgap.figures import matplotlib_style as style
from synthgap.figures.arms import Arm, Column, columns
from synthgap.figures.comparisons import COLOURS, MARKERS
from synthgap.figures.matplotlib_lines import line
from synthgap.metrics.table import Row
from synthgap.metrics.table import rows as table_rows

ACROSS = 3  # panels in a row


@style.styled
def draw(table: Any) -> Figure:
    """A panel a metric, a line an arm: the number after so many steps of its first training.

    Intervals are of the images. The dashed line is what real images reach.

    Args:
        table: the metrics table.

    Raises:
        UserError: study B has no curve.
    """
    found = _found(table)
    arms = sorted({arm for c in found for arm in c.by_step}, key=lambda a: (a.order, a.prompts))
    down, across = math.ceil(len(found) / ACROSS), min(ACROSS, len(found))
    figure = style.new_figure(3.1 * across + 0.4, 2.6 * down + 0.8)
    grid = figure.subplots(down, across, squeeze=False, sharex=True)
    looks = {arm: (COLOURS[i % 7], MARKERS[i % 7]) for i, arm in enumerate(arms)}
    for place, axes in enumerate(grid.flat):
        if place >= len(found):
            axes.set_visible(False)
            continue
        column = found[place]
        for arm, steps in column.by_step.items():
            at = {float(step): number.rows[0] for step, number in steps.items()}
            colour, marker = looks[arm]
            line(axes, at, colour, arm.label, marker=marker)
        if column.real:
            axes.axhline(column.real.value, color=style.REAL_COLOUR, lw=1, ls=(0, (5, 2)))
        axes.set_title(f"{column.title.text}{' ↑' if column.better > 0 else ' ↓'}", pad=4)
        if column.title.percent:
            style.percent_axis(axes.yaxis)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    for axes in grid[-1]:
        axes.set_xlabel("Training steps")
    style.legend_below(figure, [_key(arm, *look) for arm, look in looks.items()])
    return figure


def numbers(table: Any) -> list[Row]:
    """The rows that `draw` shows."""
    found = _found(table)
    shown = [
        row
        for column in found
        for steps in column.by_step.values()
        for number in steps.values()
        for row in number.rows
    ]
    return [*shown, *(column.real for column in found if column.real)]


def _found(table: Any) -> list[Column]:
    found = [column for column in columns(table_rows(table)) if column.by_step]
    if not found:
        raise UserError("metrics table: study text-to-image has no curve to draw")
    return found


def _key(arm: Arm, colour: str, marker: str) -> Any:
    return style.marker_key(arm.label, marker, colour)
