"""Of which classes generated images are, where real and synthetic ones have others (paper D)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from synthgap.errors import UserError
from synthgap.figures import matplotlib_style as style
from synthgap.figures.arms import Number
from synthgap.figures.casd import Model, designs, shares
from synthgap.figures.casd_by_size import COLOURS, MARKERS
from synthgap.metrics.table import Row
from synthgap.metrics.table import rows as table_rows

Found = Mapping[Model, Mapping[str, Number]]


@style.styled
def draw(table: Any) -> Figure:
    """A panel a design: the share of each class among a model's images, as a classifier sees them.

    Paper D's figure 3. Classes that no real image is of are marked by a grey ground: there DM has
    nothing but the classifier's errors.

    Args:
        table: the metrics table.

    Raises:
        UserError: no shares of classes in the table.
    """
    found = _chosen(table)
    figure = style.new_figure(8.0, 3.0 * len(found) + 0.6)
    for axes, (design, of) in zip(figure.subplots(len(found), 1, squeeze=False)[:, 0],
                                  found.items(), strict=True):  # fmt: skip
        names = list(next(iter(of.values())))
        real = next(iter(of)).classes
        for place in range(len(names)):
            if real is not None and place not in real:
                axes.axvspan(place - 0.5, place + 0.5, color=style.GRID, lw=0, gid="not real")
        for number, (model, own) in enumerate(of.items()):
            intervals = [own[name].interval for name in names]
            axes.errorbar(
                range(len(names)),
                [one.value for one in intervals],
                yerr=[[one.value - one.low for one in intervals],
                      [one.high - one.value for one in intervals]],
                color=COLOURS[model.arm],
                marker=MARKERS[number % len(MARKERS)],
                markersize=4.5,
                elinewidth=0.9,
                ls="",
                label=f"{model.title}, {model.images:,} real images",
                gid=f"{design} {model.title} {model.images}",
                transform=style.dodge(axes, number, len(of), 7),
                zorder=3,
            )  # fmt: skip
            style.reach(axes, range(len(names)), intervals)
        if real is not None:
            axes.axhline(1 / len(real), color=style.MUTED, lw=1, ls=":", gid="even")
        axes.set_xticks(range(len(names)), names)
        axes.set_xlim(-0.6, len(names) - 0.4)
        axes.set_ylabel("Share of generated images")
        axes.set_title(design)
        style.percent_axis(axes.yaxis)
    handles = {h.get_label(): h for a in figure.axes for h in a.get_legend_handles_labels()[0]}
    style.legend_below(figure, list(handles.values()))
    return figure


def numbers(table: Any) -> list[Row]:
    """The rows that `draw` shows."""
    found = [
        number for of in _chosen(table).values() for own in of.values() for number in own.values()
    ]
    # Designs share models.
    return list({id(row): row for number in found for row in number.rows}.values())


def _chosen(table: Any) -> dict[str, Found]:
    """By design, the shares of its models: of designs with classes, or of all where none has."""
    rows = table_rows(table)
    found: dict[str, Found] = {}
    for design in designs(rows):
        if of := shares(rows, design):
            found[design] = of
    if not found:
        raise UserError("metrics table: no shares of classes of the study casd to draw")
    mismatched = {d: of for d, of in found.items() if next(iter(of)).classes is not None}
    return mismatched or found
