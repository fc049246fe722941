"""What captions and augmentation make of models, metric by metric (paper B, tables 1 and 3)."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from synthgap.errors import UserError
from synthgap.figures import style
from synthgap.figures.arms import Arm, Column, arms_of, columns
from synthgap.metrics.table import Row
from synthgap.metrics.table import rows as table_rows

ACROSS = 3  # panels in a row


@style.styled
def draw(table: Any) -> Figure:
    """A panel a metric, a line an arm: its number with its interval.

    The band is the interval of the baseline, the dashed line what real images reach. Small marks
    are single trainings.

    Args:
        table: the metrics table.

    Raises:
        UserError: no numbers of study B.
    """
    found = _found(table)
    arms = arms_of(found)
    down = math.ceil(len(found) / ACROSS)
    across = min(ACROSS, len(found))
    figure = style.new_figure(2.9 * across + 1.2, (0.32 * len(arms) + 1.0) * down + 0.3)
    grid = figure.subplots(down, across, squeeze=False, sharey=True)
    for place, axes in enumerate(grid.flat):
        if place < len(found):
            _panel(axes, found[place], arms)
        else:
            axes.set_visible(False)
    return figure


def numbers(table: Any) -> list[Row]:
    """The rows that `draw` shows."""
    found = _found(table)
    shown = [row for column in found for number in column.by_arm.values() for row in number.rows]
    return [*shown, *(column.real for column in found if column.real)]


def _found(table: Any) -> list[Column]:
    found = columns(table_rows(table))
    if not found:
        raise UserError("metrics table: no numbers of the study text-to-image to draw")
    return found


def _panel(axes: Axes, column: Column, arms: list[Arm]) -> None:
    kinds = list(dict.fromkeys(arm.prompts for arm in arms))
    for place, arm in enumerate(arms):
        number = column.by_arm.get(arm)
        if number is None:
            continue
        colour = style.prompt_colour(arm.prompts, kinds)
        value, low, high = column.interval(number)
        if not math.isnan(low):
            axes.plot([low, high], [place, place], color=colour, lw=1.4, gid="interval")
            if arm.is_baseline:
                axes.axvspan(low, high, color=colour, alpha=0.1, lw=0)
        axes.plot([value], [place], "o", color=colour, ms=5, gid=arm.label)
        if number.trainings > 1:
            values = [row.value for row in number.rows]
            axes.plot(values, [place] * len(values), "|", color=style.MUTED, ms=7, gid="trainings")
    if column.real:
        axes.axvline(column.real.value, color=style.REAL_COLOUR, lw=1, ls=(0, (5, 2)), gid="real")
    axes.set_yticks(range(len(arms)), [arm.label for arm in arms])
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.set_title(f"{column.title.text}{' ↑' if column.better > 0 else ' ↓'}", pad=4)
    axes.set_xlabel(", ".join(part for part in (column.note, column.distribution) if part))
    if column.title.percent:
        style.percent_axis(axes.xaxis)
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
