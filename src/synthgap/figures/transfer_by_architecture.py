"""Synth->Real accuracy of several architectures on whole images (paper A, section 4.1)."""

from __future__ import annotations

from typing import Any

import altair as alt

from synthgap.errors import UserError
from synthgap.figures import data, marks, planes, style
from synthgap.figures.data import REAL, BySource, Source
from synthgap.metrics.table import Row
from synthgap.metrics.table import rows as table_rows

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", style.INK)
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross")
_REAL = "real images"


def draw(table: Any, *, architecture: str | None = None) -> alt.LayerChart | alt.ConcatChart:
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
    names = (*([_REAL] if any(REAL in of for of in found.values()) else []), *generators)
    every = range(len(found))
    series = style.Series(
        tuple(found),
        tuple(COLOURS[i % len(COLOURS)] for i in every),
        tuple(SHAPES[i % len(SHAPES)] for i in every),
    )
    reached = planes.reach(
        end for of in found.values() for row in of.values() for end in marks.interval(row)
    )
    told = marks.tips(
        source="Source", series="Architecture", x_text="Top-1 accuracy on real images", n="n"
    )
    # Along a line from row to row, not from left to right.
    order = alt.Order("place", type="quantitative")
    panels = []
    for kind in kinds:
        plane = planes.Plane(
            planes.Axis("Top-1 accuracy on real images", reached, percent=True),
            planes.Axis(names=names, labels=kind == kinds[0], grid=False),
            width=300,
            height=26 * len(names),
        )
        rows = [
            _datum(of[s.name], title, s.generator, s.name) | {"place": names.index(s.generator)}
            for title, of in found.items()
            for s in sources
            if s.prompts == kind and s.name in of
        ]
        real = [_datum(of[REAL], title, _REAL, _REAL) for title, of in found.items() if REAL in of]
        layers = [
            marks.lines(
                rows, plane, "series", look={"strokeWidth": 1}, color=series.colour(), order=order
            ),
            marks.intervals([*rows, *real], plane, "x", color=series.colour()),
            marks.points(
                real,
                plane,
                look={"fill": style.PAPER, "stroke": None, "strokeWidth": 1.5},
                stroke=series.stroke(),
                shape=series.shape(),
                tooltip=told,
            ),
            marks.points(rows, plane, color=series.colour(), shape=series.shape(), tooltip=told),
        ]
        prompts = data.prompt_title(kind)
        panels.append(style.Panel(plane, layers, prompts[:1].upper() + prompts[1:]))
    return style.finish(
        panels,
        "Accuracy on real images by generator, a line for each architecture of the classifier, "
        "with 95 % intervals, and above what real training images reach; a panel for each kind of "
        "prompt.",
        series=series,
        columns=len(panels),
    )


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


def _datum(row: Row, title: str, name: str, source: str) -> marks.Datum:
    return marks.number("x", row) | {"y": name, "series": title, "source": source, "n": row.n}
