"""How many images a classifier needs to tell distributions apart (paper C, tables 1 and 3)."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from synthgap.figures import style
from synthgap.figures.comparisons import comparison_looks, comparisons, rows_on
from synthgap.figures.lines import line
from synthgap.metrics.table import Row
from synthgap.metrics.table import rows as table_rows


@style.styled
def draw(table: Any) -> Figure:
    """Accuracy against the training images of each distribution, a line for each comparison.

    Args:
        table: the metrics table.

    Raises:
        UserError: no rows of the study `distinguish` on the axis `samples`.
    """
    rows = rows_on(table_rows(table), "samples")
    names = comparisons(rows)
    looks = comparison_looks(names)
    figure = style.new_figure(6.4, 4.2)
    axes = figure.add_subplot()
    axes.set_xscale("log")
    sizes: set[int] = set()
    for name in names:
        found = {_each(row): row for row in rows if row.settings["comparison"] == name}
        sizes |= found.keys()
        look = looks[name]
        at = {float(size): found[size] for size in sorted(found)}
        face = "white" if look.hollow else look.colour
        line(axes, at, look.colour, name, mfc=face)
    for chance in {row.settings["chance"] for row in rows}:
        axes.axhline(chance, color=style.MUTED, lw=1, ls=":", gid="chance")
    axes.set_xticks(sorted(sizes))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.minorticks_off()
    axes.set_xlabel("Training images of each distribution")
    axes.set_ylabel("Accuracy of telling the source (dotted: chance)")
    style.percent_axis(axes.yaxis)
    keys = [style.marker_key(x.label, x.marker, x.colour, hollow=x.hollow) for x in looks.values()]
    style.legend_below(figure, keys)
    return figure


def numbers(table: Any) -> list[Row]:
    """The rows that `draw` shows."""
    return sorted(rows_on(table_rows(table), "samples"), key=_each)


def _each(row: Row) -> int:
    return int(row.settings["train_images"]) // len(row.settings["distributions"])
