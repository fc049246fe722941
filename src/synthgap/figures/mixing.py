"""Accuracy on real images of classifiers that learnt from real and generated images together."""

from __future__ import annotations

from typing import Any

import altair as alt

from synthgap.errors import UserError
from synthgap.figures import data, labels, marks, planes, style
from synthgap.figures.data import Source
from synthgap.figures.lines import draw_lines, line_ends, line_rows, line_series
from synthgap.metrics.table import Row
from synthgap.metrics.table import rows as table_rows

# Way of mixing -> title.
MODES = {"replace": "replacing real images", "augment": "added to all real images"}
ALONE = 0.0  # generated images for each real one, where there are real images alone
Points = dict[str, dict[float, Row]]
_REAL = "real images alone"
_ACROSS = "Generated images for each real one that there is"
_UP = "Top-1 accuracy on real images"


def draw(table: Any, study: str = "mixing") -> alt.LayerChart | alt.ConcatChart:
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
    sources, by_mode = selected(table_rows(table), study)
    kinds = data.prompt_kinds(sources)
    classifiers = list(dict.fromkeys(name for found in by_mode.values() for name in found))
    planes_of = {mode: _plane(found, place) for place, (mode, found) in enumerate(by_mode.items())}
    panels = []
    for classifier in classifiers:
        for kind in kinds:
            for mode, found in by_mode.items():
                points = found.get(classifier, {})
                chosen = [s for s in sources if s.prompts == kind and s.name in points]
                rows = line_rows(chosen, sources, points, kinds)
                real = [at[ALONE] for at in points.values() if ALONE in at][:1]
                prompts = data.prompt_title(kind)
                title = f"{prompts[:1].upper()}{prompts[1:]}, {MODES[mode]}"
                if len(classifiers) > 1:
                    title += f", {classifier}"
                panels.append(
                    style.Panel(planes_of[mode], _layers(rows, real, planes_of[mode]), title)
                )
    return style.finish(
        panels,
        "Accuracy on real images of classifiers trained on real and generated ones together, by "
        "how many are generated, a line for each source, with 95 % intervals; the dashed line is "
        "real images alone.",
        series=line_series(sources),
        columns=len(by_mode),
    )


def numbers(table: Any, study: str = "mixing") -> list[Row]:
    """The rows that `draw` shows."""
    sources, by_mode = selected(table_rows(table), study)
    return [
        row
        for found in by_mode.values()
        for points in found.values()
        for source in sources
        for row in points.get(source.name, {}).values()
    ]


def selected(rows: list[Row], study: str) -> tuple[list[Source], dict[str, dict[str, Points]]]:
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


def _plane(found: dict[str, Points], place: int) -> planes.Plane:
    """Where all panels of a way of mixing stand.

    What is added changes far less than what replaces: each way has a scale of its own.
    """
    lines = [at for points in found.values() for at in points.values()]
    return planes.Plane(
        planes.Axis(_ACROSS, planes.reach((at for line in lines for at in line), 0.06)),
        planes.Axis(
            _UP,
            planes.reach(
                (end for line in lines for row in line.values() for end in marks.interval(row)),
                0.06,
            ),
            percent=True,
        ),
        width=310,
        height=230 if len(lines) <= 8 else 300,
        zoom=f"{planes.ZOOM}_{place}" if place else planes.ZOOM,
    )


def _layers(rows: list[marks.Datum], real: list[Row], plane: planes.Plane) -> list[alt.Chart]:
    """The lines of a panel and what real images alone reach, with their names."""
    named = line_ends(rows)
    layers: list[alt.Chart] = []
    for row in real:
        layers += marks.reference(row, plane, name=_REAL)
        right = max((end["x"] for end in named), default=plane.x.domain[1])
        of_real = {"x": right, "y": row.value, "label": _REAL, "colour": style.REAL_COLOUR}
        named.append(of_real)
    layers += labels.label_ends(named, plane)
    # A panel without lines keeps its place and its axes.
    return [*layers, *(draw_lines(rows, plane, _ACROSS, _UP) or [marks.points([], plane)])]
