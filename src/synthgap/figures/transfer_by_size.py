"""Accuracy on real images by the number of training images (paper A, appendix A)."""

from __future__ import annotations

from typing import Any

import altair as alt

from synthgap.errors import UserError
from synthgap.figures import data, labels, marks, planes, style
from synthgap.figures.data import REAL, Source
from synthgap.figures.lines import draw_lines, line_data, line_ends, line_rows, line_series
from synthgap.metrics.table import Row
from synthgap.metrics.table import rows as table_rows

Points = dict[str, dict[float, Row]]
_REAL = "real images"


def draw(table: Any) -> alt.LayerChart | alt.ConcatChart:
    """Top-1 on real test images against the number of training images, a line a source.

    A panel for each kind of prompt; the dark line in each is real training images. The higher a
    generator's x, the darker its line.

    Args:
        table: the metrics table.

    Raises:
        UserError: no rows of the study `scaling`, or two for the same number.
    """
    sources, points = _chosen(table_rows(table))
    kinds = data.prompt_kinds(sources)
    sizes = sorted({size for at in points.values() for size in at})
    ends = [end for at in points.values() for row in at.values() for end in marks.interval(row)]
    series = line_series(sources, *([_REAL] if REAL in points else []))
    dashed = {"strokeWidth": 2.5, "strokeDash": style.DASHES}
    panels = []
    for kind in kinds or [""]:
        plane = planes.Plane(
            planes.Axis(
                "Training images",
                planes.reach(sizes, 0.06, log=True),
                log=True,
                ticks=tuple(sizes) if len(sizes) <= 5 else (),
            ),
            planes.Axis("Top-1 accuracy on real images", planes.reach(ends, 0.06), percent=True),
            width=300,
        )
        rows = line_rows([s for s in sources if s.prompts == kind], sources, points, kinds)
        real = line_data(points.get(REAL, {}), REAL, _REAL, style.REAL_COLOUR)
        layers = [
            *labels.label_ends(line_ends([*rows, *real]), plane),
            *draw_lines(real, plane, "Training images", look=dashed),
            *draw_lines(rows, plane, "Training images"),
        ]
        title = data.prompt_title(kind) if kind else ""
        panels.append(style.Panel(plane, layers, title[:1].upper() + title[1:]))
    return style.finish(
        panels,
        "Accuracy on real images by the number of training images, a line for each source, with "
        "95 % intervals; a panel for each kind of prompt.",
        series=series,
        columns=len(panels),
    )


def numbers(table: Any) -> list[Row]:
    """The rows that `draw` shows."""
    sources, points = _chosen(table_rows(table))
    names = [name for name in (REAL, *(s.name for s in sources)) if name in points]
    return [row for name in names for row in points[name].values()]


def _chosen(rows: list[Row]) -> tuple[list[Source], Points]:
    by_fraction = data.by_share(rows, "scaling", "fraction")
    if not by_fraction:
        raise UserError("metrics table: no rows of the study scaling to draw")
    # Of small classes, two fractions can come to the same images; the larger one stands for both.
    points: Points = {
        name: {row.settings["train_images"]: row for _, row in sorted(of.items())}
        for name, of in by_fraction.items()
    }
    return [s for s in data.sources(rows) if s.name in points], points
