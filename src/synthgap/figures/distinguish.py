"""How well each classifier tells distributions apart (paper C, tables 2 to 6 and figure 3)."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from synthgap.figures import matplotlib_style as style
from synthgap.figures.comparisons import (
    classifier_looks,
    comparisons,
    label,
    rows_on,
)
from synthgap.metrics.table import Row
from synthgap.metrics.table import rows as table_rows

# Height in inches of a comparison, and of each further classifier in it.
ROW, SERIES = 0.2, 0.11


@style.styled
def draw(table: Any) -> Figure:
    """Accuracy on test images, a row for each comparison, a mark for each classifier.

    The short line in each row is chance. Controls, a source against itself, are at the bottom and
    must come out there.

    Args:
        table: the metrics table.

    Raises:
        UserError: no rows of the study `distinguish`.
    """
    rows = rows_on(table_rows(table), "main")
    names, looks = comparisons(rows), classifier_looks(rows)
    chances = {row.settings["comparison"]: row.settings["chance"] for row in rows}
    height = len(names) * (ROW + SERIES * len(looks))
    figure = style.new_figure(7.2, 1.9 + height)
    axes = figure.add_subplot()
    for place, name in enumerate(names):
        axes.plot([chances[name]] * 2, [place - 0.42, place + 0.42], color=style.MUTED,
                  lw=1.2, ls=(0, (3, 2)), gid=f"chance {name}")  # fmt: skip
    step = 0.72 / max(1, len(looks) - 1)
    for number, (classifier, look) in enumerate(looks.items()):
        shift = (number - (len(looks) - 1) / 2) * step if len(looks) > 1 else 0.0
        found = {r.settings["comparison"]: r for r in rows if r.architecture == classifier}
        for place, name in enumerate(names):
            if (row := found.get(name)) is None:
                continue
            axes.errorbar(
                [row.value],
                [place + shift],
                xerr=style.error(row),
                color=look.colour,
                marker=look.marker,
                mfc="white" if look.hollow else look.colour,
                markersize=5.5,
                elinewidth=1.1,
                gid=f"{classifier} {name}",
                zorder=3,
            )
    axes.set_yticks(range(len(names)), [label(name) for name in names])
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    for between in range(1, len(names)):
        axes.axhline(between - 0.5, color=style.GRID, lw=0.8, zorder=0)
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, min(chances.values()) - 0.05), max(high, 1.01))
    axes.set_xlabel("Accuracy of telling the source of a test image (dashed: chance)")
    style.percent_axis(axes.xaxis)
    style.legend_below(
        figure,
        [style.marker_key(x.label, x.marker, x.colour, hollow=x.hollow) for x in looks.values()],
    )
    return figure


def numbers(table: Any) -> list[Row]:
    """The rows that `draw` shows."""
    rows = rows_on(table_rows(table), "main")
    order = {name: place for place, name in enumerate(comparisons(rows))}
    return sorted(rows, key=lambda row: (order[row.settings["comparison"]], row.architecture or ""))
