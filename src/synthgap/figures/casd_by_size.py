"""Fréchet distance of models of real and synthetic images by how many there were (paper D)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from synthgap.errors import UserError
from synthgap.figures import matplotlib_style as style
from synthgap.figures.arms import Number
from synthgap.figures.casd import FRECHET, Model, designs
from synthgap.figures.casd import numbers as numbers_of
from synthgap.metrics.table import Row
from synthgap.metrics.table import rows as table_rows

COLOURS = {"dm": style.REAL_COLOUR, "sda": "#D55E00", "casd": "#0072B2"}
MARKERS = ("o", "s", "^", "D", "v", "P")
Found = Mapping[Model, Mapping[str, Number]]


@style.styled
def draw(table: Any) -> Figure:
    """A panel a design: Fréchet distance against real images, or synthetic ones where these vary.

    A line for each arm and source; DM's is grey. Bars are 95 % intervals.

    Args:
        table: the metrics table.

    Raises:
        UserError: no rows of the study.
    """
    found = _chosen(table)
    sources = list(dict.fromkeys(m.source for of in found.values() for m in of if m.source))
    figure = style.new_figure(4.6 * len(found) + 0.4, 3.8)
    for axes, (design, of) in zip(figure.subplots(1, len(found), squeeze=False)[0], found.items(),
                                  strict=True):  # fmt: skip
        _panel(axes, of, sources)
        axes.set_title(design)
    handles = {h.get_label(): h for a in figure.axes for h in a.get_legend_handles_labels()[0]}
    style.legend_below(figure, list(handles.values()))
    return figure


def numbers(table: Any) -> list[Row]:
    """The rows that `draw` shows."""
    found = [own[FRECHET] for of in _chosen(table).values() for own in of.values()]
    # Designs share models.
    return list({id(row): row for number in found for row in number.rows}.values())


def _chosen(table: Any) -> dict[str, Found]:
    """By design, the models that have a Fréchet distance."""
    rows = table_rows(table)
    found = {
        design: {model: own for model, own in numbers_of(rows, design).items() if FRECHET in own}
        for design in designs(rows)
    }
    if not any(found.values()):
        raise UserError("metrics table: no Fréchet distances of the study casd to draw")
    return {design: of for design, of in found.items() if of}


def _panel(axes: Axes, found: Found, sources: list[str]) -> None:
    images = {model.images for model in found}
    by_synthetic = len(images) == 1 and len({m.synthetic for m in found if m.source}) > 1
    lines: dict[tuple[str, str | None, int], dict[int, Number]] = {}
    for model, own in found.items():
        # Where one number of synthetic images is left, it needs no line of its own.
        apart = 0 if by_synthetic else model.synthetic
        at = model.synthetic if by_synthetic else model.images
        lines.setdefault((model.arm, model.source, apart), {})[at] = own[FRECHET]
    several = len({apart for _, source, apart in lines if source}) > 1
    for number, ((arm, source, apart), points) in enumerate(lines.items()):
        name = next(m.title for m in found if (m.arm, m.source) == (arm, source))
        name += f", {apart:,} of them" if several and source else ""
        colour = COLOURS[arm]
        marker = MARKERS[sources.index(source) % len(MARKERS)] if source else "*"
        intervals = [point.interval for point in points.values()]
        axes.errorbar(
            list(points),
            [one.value for one in intervals],
            yerr=[[one.value - one.low for one in intervals],
                  [one.high - one.value for one in intervals]],
            color=colour,
            marker=marker,
            markersize=4.5,
            elinewidth=0.9,
            lw=1.3,
            label=name,
            gid=f"{arm} {source or ''}".strip(),
            zorder=3,
            transform=style.dodge(axes, number, len(lines), 3),
        )  # fmt: skip
        style.reach(axes, points, intervals)
        if by_synthetic and arm == "dm":
            axes.axhline(intervals[0].value, color=colour, lw=1, ls=(0, (5, 2)), gid="DM")
    places = sorted({at for points in lines.values() for at in points})
    if not by_synthetic and len(places) > 1:
        axes.set_xscale("log")
    axes.set_xticks(places)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.minorticks_off()
    axes.set_xlabel("Synthetic images" if by_synthetic else "Real images")
    axes.set_ylabel("Fréchet distance (lower is better)")
    axes.set_ylim(bottom=0)
