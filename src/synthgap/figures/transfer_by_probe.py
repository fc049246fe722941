"""Synth->Real accuracy of classifiers that see only part of an image (paper A, figure 4)."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from synthgap.errors import UserError
from synthgap.figures import data, style
from synthgap.metrics.table import rows as table_rows

PANELS = (
    ("Structure and texture", ("structure", "texture")),
    ("Low and high frequencies", ("low", "band", "high")),
)


@style.styled
def draw(table: Any, *, architecture: str | None = None) -> Figure:
    """Each source's accuracy in a probe's space (y) against its RGB accuracy (x).

    Colour and outline tell the probe, shape the prompts; a star is Real->Real. Below the diagonal
    the probe's share of the image carries less than the whole. Only probes in the table are drawn.

    Args:
        table: the metrics table.
        architecture: of the classifiers; needed when the table holds several. A probe that has
            none of it (texture is a BagNet) keeps its own.

    Raises:
        UserError: no probe in the table, or a source without RGB accuracy or without one of the
            probes that others have.
    """
    rows = table_rows(table)
    sources = data.sources(rows)
    data.require_sources(sources)
    kinds = data.prompt_kinds(sources)
    names = [s.name for s in sources]
    rgb = data.synth_to_real(rows, architecture=architecture)
    data.require("RGB accuracy on real images", rgb, names)

    present = set(data.probes(rows))
    panels = [(t, [p for p in probes if p in present]) for t, probes in PANELS]
    panels = [(title, probes) for title, probes in panels if probes]
    if not panels:
        raise UserError(
            "metrics table: no probe accuracy (structure, texture, low, band or high) to draw"
        )

    figure = style.new_figure(4.3 * len(panels) + 0.2, 5.0)
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, probes) in zip(grid, panels, strict=True):
        for probe in probes:
            found = data.synth_to_real(rows, probe=probe, architecture=architecture)
            data.require(f"{probe} accuracy on real images", found, names)
            for source in sources:
                marker = style.prompt_marker(source.prompts, kinds)
                _point(axes, rgb[source.name], found[source.name], probe, marker, source.name)
            if data.REAL in rgb and data.REAL in found:
                _point(axes, rgb[data.REAL], found[data.REAL], probe, "*", data.REAL)
        style.diagonal(axes)
        style.percent_axis(axes.xaxis)
        style.percent_axis(axes.yaxis)
        axes.set_title(title)
        axes.set_xlabel("RGB, top-1 on real images")
        keys = [style.marker_key(data.PROBES[p], "o", style.PROBE_COLOURS[p]) for p in probes]
        axes.legend(handles=keys, loc="upper left", handletextpad=0.2)
    grid[0].set_ylabel("Probe, top-1 on real images")
    shapes = [
        style.marker_key(data.prompt_title(kind), style.prompt_marker(kind, kinds), style.MUTED)
        for kind in kinds
    ]
    shapes.append(style.marker_key("Real→Real", "*", style.MUTED, hollow=True))
    style.legend_below(figure, shapes)
    return figure


def _point(axes: Axes, x: Any, y: Any, probe: str, marker: str, name: str) -> None:
    colour = style.PROBE_COLOURS[probe]
    real = name == data.REAL
    axes.errorbar(
        [x.value],
        [y.value],
        xerr=style.error(x),
        yerr=style.error(y),
        ls="",
        color=colour,
        marker=marker,
        markersize=11 if real else 6,
        markerfacecolor="white" if real else colour,
        markeredgecolor=colour if real else "white",
        elinewidth=0.9,
        gid=f"{probe}-{name}",
        zorder=4 if real else 3,
    )
