"""How well each part of an image carries over to real ones (paper A, figure 4)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import altair as alt

from synthgap.errors import UserError
from synthgap.figures import data, marks, planes, style
from synthgap.figures.data import BySource, Source
from synthgap.metrics.table import Row
from synthgap.metrics.table import rows as table_rows

PANELS = (
    ("Structure and texture", ("structure", "texture")),
    ("Low and high frequencies", ("low", "band", "high")),
)
_FILLS = {"texture": style.PAPER, "high": style.PAPER}


def draw(table: Any, *, architecture: str | None = None) -> alt.LayerChart | alt.ConcatChart:
    """Each source's accuracy relative to real data, in a probe's space (y) and in RGB (x).

    Relative: Synth->Real divided by Real->Real of the same probe, so that what a probe cannot see
    even in real images does not count against the source. Above the diagonal, that part of the
    image carries over better than the whole. Colour and fill tell the probe, shape the prompts.
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
    drawn = [probe for _, probes in panels for probe in probes]
    series = style.Series(
        tuple(data.PROBES[probe] for probe in drawn),
        tuple(style.PROBE_COLOURS[probe] for probe in drawn),
        # The first of a panel's is full, the last hollow.
        fills=tuple(_FILLS.get(probe, style.PROBE_COLOURS[probe]) for probe in drawn),
    )
    prompts = replace(style.prompt_series(kinds), field="prompts")
    ends = [end for of in found.values() for s in sources for end in marks.interval(of[s.name])]
    both = planes.reach(ends, 0.05)
    made = []
    for title, probes in panels:
        plane = planes.Plane(
            planes.Axis("RGB: Synth→Real, share of Real→Real", both, percent=True),
            planes.Axis("Probe: Synth→Real, share of Real→Real", both, percent=True),
            width=340,
            height=340,
        )
        rows = [
            marks.number("x", found["rgb"][source.name])
            | marks.number("y", found[probe][source.name])
            | {"n": found[probe][source.name].n, "source": source.name}
            | {"series": data.PROBES[probe], "prompts": data.prompt_title(source.prompts)}
            for probe in probes
            for source in sources
        ]
        told = marks.tips(source="Source", series="Probe", x_text="RGB", y_text="Probe", n="n")
        layers = [
            marks.diagonal(plane),
            marks.intervals(rows, plane, "x", width=1, stroke=series.stroke()),
            marks.intervals(rows, plane, "y", width=1, stroke=series.stroke()),
            marks.points(
                rows,
                plane,
                look={"size": 45, "stroke": None, "strokeWidth": 1.5},
                fill=series.fill(),
                stroke=series.stroke(),
                shape=prompts.shape(
                    orient="top", symbolFillColor=style.MUTED, symbolStrokeColor=style.MUTED
                ),
                tooltip=told,
            ),
        ]
        made.append(style.Panel(plane, layers, title))
    return style.finish(
        made,
        "Accuracy on real images relative to real training images, of classifiers that see one "
        "part of the image (up) and of those that see all of it (across), for each source.",
        series=series,
        columns=len(made),
    )


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
