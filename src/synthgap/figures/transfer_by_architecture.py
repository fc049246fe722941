"""Synth->Real accuracy of several architectures on whole images (paper A, section 4.1)."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from synthgap.errors import UserError
from synthgap.figures import data
from synthgap.figures import matplotlib_style as style
from synthgap.figures.data import REAL, BySource, Source
from synthgap.metrics.table import Row
from synthgap.metrics.table import rows as table_rows

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#000000")
MARKERS = "os^Dvp"


@style.styled
def draw(table: Any, *, architecture: str | None = None) -> Figure:
    """Top-1 on real test images (x) of each generator (a row), a line an architecture.

    Generators stand in the order of their x, the lowest at the top; a panel for each kind of
    prompt. Lines that run alike say that the order of the generators does not depend on the
    architecture. The hollow marks above are Real->Real.

    Args:
        table: the metrics table.
        architecture: of the probe `rgb`; needed when the table holds several.

    Raises:
        UserError: no further architecture in the table, or a source without accuracy in RGB.
    """
    sources, found = _chosen(table_rows(table), architecture)
    kinds = data.prompt_kinds(sources)
    generators = [pair[0].generator for pair in data.pairs(sources)]
    places = {generator: 1.4 + place for place, generator in enumerate(generators)}
    last = 0.4 + len(generators)

    figure = style.new_figure(3.4 * len(kinds) + 1.6, 1.8 + 0.3 * last)
    grid = figure.subplots(1, len(kinds), squeeze=False, sharex=True, sharey=True)[0]
    for axes, kind in zip(grid, kinds, strict=True):
        for index, (title, rows) in enumerate(found.items()):
            look = {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)]}
            drawn = [s for s in sources if s.prompts == kind and s.name in rows]
            errors = [style.error(rows[s.name]) for s in drawn]
            axes.errorbar(
                [rows[s.name].value for s in drawn],
                [places[s.generator] for s in drawn],
                xerr=[[e[0][0] for e in errors], [e[1][0] for e in errors]],
                markeredgecolor="white",
                elinewidth=1,
                lw=0.8,
                label=title,
                gid=f"{title}-{kind}",
                zorder=3,
                **look,
            )
            if REAL in rows:
                real = rows[REAL]
                axes.errorbar(
                    [real.value], [0], xerr=style.error(real), mfc="white", elinewidth=1, **look
                )
        prompts = data.prompt_title(kind)
        axes.set_title(prompts[:1].upper() + prompts[1:])
        axes.set_xlabel("Top-1 accuracy on real images")
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        style.percent_axis(axes.xaxis)
    grid[0].set_yticks([0, *places.values()], ["real images", *places])
    grid[0].set_ylim(last + 0.7, -0.7)
    style.legend_below(figure, grid[0].get_legend_handles_labels()[0])
    return figure


def numbers(table: Any, *, architecture: str | None = None) -> list[Row]:
    """The rows that `draw` shows."""
    sources, found = _chosen(table_rows(table), architecture)
    names = (REAL, *(s.name for s in sources))
    return [rows[name] for rows in found.values() for name in names if name in rows]


def _chosen(rows: list[Row], architecture: str | None) -> tuple[list[Source], dict[str, BySource]]:
    """The sources, and their accuracies by the architecture's title, that of `rgb` first."""
    sources = data.sources(rows)
    data.require_sources(sources)
    further = data.architectures(rows)
    if not further:
        raise UserError("metrics table: no accuracy of a further architecture to draw")
    found = {"rgb": data.synth_to_real(rows, architecture=architecture)}
    found |= {probe: data.synth_to_real(rows, probe=probe) for probe in further}
    data.require("top-1 accuracy on real images", found["rgb"], [s.name for s in sources])
    titles = {probe: _title(probe, of) for probe, of in found.items()}
    shared = {title for title in titles.values() if list(titles.values()).count(title) > 1}
    return sources, {
        f"{titles[probe]} ({probe})" if titles[probe] in shared else titles[probe]: of
        for probe, of in found.items()
    }


def _title(probe: str, rows: BySource) -> str:
    """The architecture, or the probe where it is not told or not one."""
    told = {row.architecture for row in rows.values()}
    return (told.pop() or probe) if len(told) == 1 else probe
