"""How well a classifier tells each source from real images (paper C, section 3)."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from synthgap.figures import data, style
from synthgap.metrics.table import rows as table_rows


@style.styled
def draw(table: Any, *, view: str | None = None) -> Figure:
    """Accuracy of real-or-generated classifiers, a row per source, with the control and chance.

    The control tells two halves of the real images apart and must come out near 50 %.

    Args:
        table: the metrics table.
        view: what the classifiers see, where the table holds several.

    Raises:
        UserError: the control or a source's accuracy is missing or ambiguous.
    """
    rows = table_rows(table)
    found = data.distinguish(rows, view=view)
    sources = [s for s in data.sources(rows) if s.name in found]
    data.require("accuracy of telling it from real images", found, [data.REAL])
    data.require_sources(sources)
    kinds = data.prompt_kinds(sources)

    lines = [(data.REAL, "real against real (control)", style.REAL_COLOUR, "*")]
    positions = [0.0]
    for kind in kinds:
        colour, marker = style.prompt_colour(kind, kinds), style.prompt_marker(kind, kinds)
        group = [(s.name, s.generator, colour, marker) for s in sources if s.prompts == kind]
        start = positions[-1] + 1.6  # a gap between the groups
        positions += [start + i for i in range(len(group))]
        lines += group

    figure = style.new_figure(6.8, 1.7 + 0.27 * positions[-1])
    axes = figure.add_subplot()
    axes.axvline(0.5, color=style.MUTED, lw=1, ls=(0, (4, 3)), gid="chance", label="chance")
    for position, (name, _, colour, marker) in zip(positions, lines, strict=True):
        row = found[name]
        axes.plot([0.5, row.value], [position, position], color=colour, lw=2, alpha=0.3, zorder=2)
        axes.errorbar(
            [row.value],
            [position],
            xerr=style.error(row),
            color=colour,
            marker=marker,
            markersize=11 if name == data.REAL else 6.5,
            markeredgecolor=colour if name == data.REAL else "white",
            elinewidth=1.2,
            gid=name,
            zorder=3,
        )
    axes.set_yticks(positions, [label for _, label, _, _ in lines])
    axes.set_ylim(positions[-1] + 0.7, -0.7)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0.45), max(high, 1.0))
    axes.set_xlabel("Accuracy of telling a source from real images")
    axes.set_title("Can a classifier tell them apart?")
    style.percent_axis(axes.xaxis)
    keys = [
        style.marker_key(
            data.prompt_title(kind),
            style.prompt_marker(kind, kinds),
            style.prompt_colour(kind, kinds),
        )
        for kind in kinds
    ]
    style.legend_below(figure, [*keys, *axes.get_legend_handles_labels()[0]])
    return figure
