"""Accuracy on real images of classifiers that learnt from real and generated images together."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from synthgap.errors import UserError
from synthgap.figures import data
from synthgap.figures import matplotlib_style as style
from synthgap.figures.data import Source
from synthgap.figures.matplotlib_lines import End, draw_lines
from synthgap.metrics.table import Row
from synthgap.metrics.table import rows as table_rows

# Way of mixing -> title.
MODES = {"replace": "replacing real images", "augment": "added to all real images"}
ALONE = 0.0  # generated images for each real one, where there are real images alone
Points = dict[str, dict[float, Row]]


@style.styled
def draw(table: Any, study: str = "mixing") -> Figure:
    """Top-1 on real test images against how much of the training images is generated.

    A column for each way of mixing, a row for each classifier and kind of prompt, a line a source.
    Real images alone are at the left; the dashed line with its band is what they reach. The higher
    a generator's x, the darker its line.

    Args:
        table: the metrics table.
        study: `mixing`, or another that has the same settings.

    Raises:
        UserError: no rows of the study, or two for the same number.
    """
    sources, by_mode = _chosen(table_rows(table), study)
    kinds = data.prompt_kinds(sources)
    classifiers = list(dict.fromkeys(name for found in by_mode.values() for name in found))
    down_all = [(classifier, kind) for classifier in classifiers for kind in kinds]
    size = (4.9 * len(by_mode) + 0.4, (3.2 if len(sources) <= 8 else 4.2) * len(down_all) + 0.6)
    figure = style.new_figure(*size)
    # What is added changes far less than what replaces: each way has a scale of its own.
    grid = figure.subplots(len(down_all), len(by_mode), squeeze=False, sharey="col", sharex="col")
    ends: list[tuple[Axes, list[End]]] = []
    for across, (mode, found) in enumerate(by_mode.items()):
        for down, (classifier, kind) in enumerate(down_all):
            axes, points = grid[down, across], found.get(classifier, {})
            title = MODES[mode] + (f", {classifier}" if len(classifiers) > 1 else "")
            chosen = [s for s in sources if s.prompts == kind and s.name in points]
            if chosen:
                ends.append((axes, draw_lines(axes, chosen, points, kinds)))
            real = [at[ALONE] for at in points.values() if ALONE in at]
            if real:
                _real_alone(axes, real[0])
            prompts = data.prompt_title(kind)
            axes.set_title(f"{prompts[:1].upper()}{prompts[1:]}, {title}")
            style.percent_axis(axes.yaxis)
        grid[-1, across].set_xlabel("Generated images for each real one that there is")
    for row in grid:
        row[0].set_ylabel("Top-1 accuracy on real images")
    handles = {h.get_label(): h for axes in grid.flat for h in axes.get_legend_handles_labels()[0]}
    style.legend_below(figure, list(handles.values()))
    for axes, names in ends:
        style.label_ends(axes, names)
    return figure


def numbers(table: Any, study: str = "mixing") -> list[Row]:
    """The rows that `draw` shows."""
    sources, by_mode = _chosen(table_rows(table), study)
    return [
        row
        for found in by_mode.values()
        for points in found.values()
        for source in sources
        for row in points.get(source.name, {}).values()
    ]


def _chosen(rows: list[Row], study: str) -> tuple[list[Source], dict[str, dict[str, Points]]]:
    """The sources, and by way of mixing and classifier their rows."""
    by_mode: dict[str, dict[str, Points]] = {}
    for mode in MODES:
        chosen = [r for r in rows if r.study == study and r.settings.get("mixing") == mode]
        for classifier in dict.fromkeys(str(row.architecture) for row in chosen):
            of_it = [row for row in chosen if row.architecture == classifier]
            if points := data.by_share(of_it, study, "synthetic_ratio"):
                by_mode.setdefault(mode, {})[classifier] = points
    if not by_mode:
        raise UserError(f"metrics table: no rows of the study {study} to draw")
    names = {n for found in by_mode.values() for points in found.values() for n in points}
    sources = [s for s in data.sources(rows) if s.name in names]
    data.require_sources(sources)
    return sources, by_mode


def _real_alone(axes: Axes, real: Row) -> None:
    colour = style.REAL_COLOUR
    axes.axhline(real.value, color=colour, ls=(0, (5, 2)), gid="real", label="real images alone")
    if real.ci_low is not None and real.ci_high is not None:
        axes.axhspan(real.ci_low, real.ci_high, color=colour, alpha=0.12, lw=0)
