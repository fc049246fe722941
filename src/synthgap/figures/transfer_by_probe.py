"""How well each part of an image carries over to real ones (paper A, figure 4)."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from synthgap.errors import UserError
from synthgap.figures import data, style
from synthgap.figures.data import BySource, Source
from synthgap.metrics.table import Row
from synthgap.metrics.table import rows as table_rows

PANELS = (
    ("Structure and texture", ("structure", "texture")),
    ("Low and high frequencies", ("low", "band", "high")),
)


@style.styled
def draw(table: Any, *, architecture: str | None = None) -> Figure:
    """Each source's accuracy relative to real data, in a probe's space (y) and in RGB (x).

    Relative: Synth->Real divided by Real->Real of the same probe, so that what a probe cannot see
    even in real images does not count against the source. Above the diagonal, that part of the
    image carries over better than the whole. Colour and outline tell the probe, shape the prompts.
    Only probes in the table are drawn.

    Args:
        table: the metrics table.
        architecture: of the classifiers; needed when the table holds several. A probe that has
            none of it (texture is a BagNet) keeps its own.

    Raises:
        UserError: no probe in the table, or a source without RGB accuracy or without one of the
            probes that others have.
    """
    sources, found = _chosen(table_rows(table), architecture)
    kinds = data.prompt_kinds(sources)
    panels = [(title, [p for p in probes if p in found]) for title, probes in PANELS]
    panels = [(title, probes) for title, probes in panels if probes]

    figure = style.new_figure(4.3 * len(panels) + 0.2, 5.0)
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, probes) in zip(grid, panels, strict=True):
        for probe in probes:
            for source in sources:
                marker = style.prompt_marker(source.prompts, kinds)
                name = source.name
                _point(axes, found["rgb"][name], found[probe][name], probe, marker, name)
        style.diagonal(axes)
        style.percent_axis(axes.xaxis)
        style.percent_axis(axes.yaxis)
        axes.set_title(title)
        axes.set_xlabel("RGB: Synth→Real, share of Real→Real")
        keys = [style.marker_key(data.PROBES[p], "o", style.PROBE_COLOURS[p]) for p in probes]
        axes.legend(handles=keys, loc="upper left", handletextpad=0.2)
    grid[0].set_ylabel("Probe: Synth→Real, share of Real→Real")
    shapes = [
        style.marker_key(data.prompt_title(kind), style.prompt_marker(kind, kinds), style.MUTED)
        for kind in kinds
    ]
    style.legend_below(figure, shapes)
    return figure


def numbers(table: Any, *, architecture: str | None = None) -> list[Row]:
    """The rows that `draw` shows."""
    sources, found = _chosen(table_rows(table), architecture)
    return [of[s.name] for of in found.values() for s in sources]


def _chosen(rows: list[Row], architecture: str | None) -> tuple[list[Source], dict[str, BySource]]:
    """The sources, and by probe their relative accuracies; RGB's among them."""
    sources = data.sources(rows)
    data.require_sources(sources)
    present = data.probes(rows, data.RELATIVE)
    drawn = [probe for _, probes in PANELS for probe in probes if probe in present]
    if not drawn:
        raise UserError(
            "metrics table: no relative accuracy of a probe (structure, texture, low, band or high)"
        )
    found: dict[str, BySource] = {}
    for probe in ("rgb", *drawn):
        found[probe] = data.synth_to_real(
            rows, probe=probe, architecture=architecture, metric=data.RELATIVE
        )
        title = data.PROBES[probe]
        what = f"{title} accuracy relative to real images"
        data.require(what, found[probe], [s.name for s in sources])
    return sources, found


def _point(axes: Axes, x: Row, y: Row, probe: str, marker: str, name: str) -> None:
    axes.errorbar(
        [x.value],
        [y.value],
        xerr=style.error(x),
        yerr=style.error(y),
        ls="",
        color=style.PROBE_COLOURS[probe],
        marker=marker,
        markersize=6,
        markeredgecolor="white",
        elinewidth=0.9,
        gid=f"{probe}-{name}",
        zorder=3,
    )
