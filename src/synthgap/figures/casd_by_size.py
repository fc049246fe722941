"""Fréchet distance of models of real and synthetic images by how many there were (paper D)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import altair as alt

from synthgap.errors import UserError
from synthgap.figures import marks, planes, style
from synthgap.figures.arms import Number
from synthgap.figures.casd import FRECHET, Model, designs
from synthgap.figures.casd import numbers as numbers_of
from synthgap.figures.comparisons import SHAPES, Look, draw_points, series_of
from synthgap.metrics.table import Row
from synthgap.metrics.table import rows as table_rows

COLOURS = {"dm": style.REAL_COLOUR, "sda": "#D55E00", "casd": "#0072B2"}
Found = Mapping[Model, Mapping[str, Number]]
ACROSS = 2  # panels in a row


@dataclass(frozen=True)
class Line:
    """A series of one panel, by the number of images across."""

    name: str
    arm: str
    source: str | None
    synthetic: int
    """images, where this tells lines apart; 0 where it does not"""
    points: dict[int, Number]


def draw(table: Any) -> alt.LayerChart | alt.ConcatChart:
    """A panel a design: Fréchet distance against real images, or synthetic ones where these vary.

    A line for each arm and source; DM's is grey. Where lines differ in how many synthetic images
    there were, the more the darker, and the fewest are hollow. Bars are 95 % intervals.

    Args:
        table: the metrics table.

    Raises:
        UserError: no rows of the study.
    """
    found = _chosen(table)
    lines = {design: _lines(of) for design, of in found.items()}
    series = series_of(_looks([line for of in lines.values() for line in of]))
    return style.finish(
        [_panel(design, of, lines[design], series) for design, of in found.items()],
        "Fréchet distance to real images of what diffusion models generate, by the number of "
        "images that they learnt from, with 95 % intervals; a panel for each design.",
        series=series,
        columns=min(ACROSS, len(found)),
    )


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


def _by_synthetic(found: Found) -> bool:
    """Whether the synthetic images are what varies."""
    images = {model.images for model in found}
    return len(images) == 1 and len({m.synthetic for m in found if m.source}) > 1


def _lines(found: Found) -> list[Line]:
    by_synthetic = _by_synthetic(found)
    lines: dict[tuple[str, str | None, int], dict[int, Number]] = {}
    for model, own in found.items():
        # Where one number of synthetic images is left, it needs no line of its own.
        apart = 0 if by_synthetic else model.synthetic
        at = model.synthetic if by_synthetic else model.images
        lines.setdefault((model.arm, model.source, apart), {})[at] = own[FRECHET]
    several = len({apart for _, source, apart in lines if source}) > 1
    made = []
    for (arm, source, apart), points in lines.items():
        name = next(m.title for m in found if (m.arm, m.source) == (arm, source))
        if several and source:
            made.append(Line(f"{name}, {apart:,} of them", arm, source, apart, points))
        else:
            made.append(Line(name, arm, source, 0, points))
    return made


def _looks(lines: list[Line]) -> list[Look]:
    sources = list(dict.fromkeys(line.source for line in lines if line.source))
    amounts = sorted({line.synthetic for line in lines if line.synthetic})
    looks = {}
    for line in lines:
        shape = SHAPES[sources.index(line.source) % len(SHAPES)] if line.source else style.STAR
        colour, hollow = COLOURS[line.arm], False
        if line.synthetic and len(amounts) > 1:
            place = amounts.index(line.synthetic)
            colour, hollow = style.shade(colour, place / (len(amounts) - 1)), place == 0
        looks[line.name] = Look(line.name, colour, shape, hollow)
    return list(looks.values())


def _panel(design: str, found: Found, lines: list[Line], series: style.Series) -> style.Panel:
    by_synthetic = _by_synthetic(found)
    x_title = "Synthetic images" if by_synthetic else "Real images"
    rows = [
        marks.number("y", number.interval, percent=False)
        | {"x": at, "x_text": f"{at:,}", "series": line.name, "trainings": number.trainings}
        | {"n": number.rows[0].n, "shift": style.dodge(place, len(lines), min(5, 36 / len(lines)))}
        for place, line in enumerate(lines)
        for at, number in sorted(line.points.items())
    ]
    places = sorted({row["x"] for row in rows})
    log = not by_synthetic and len(places) > 1
    top = max(end for row in rows for end in (row["y"], row.get("y_high", 0)))
    plane = planes.Plane(
        planes.Axis(
            x_title,
            planes.reach(places, 0.1, log=log),
            log=log,
            ticks=tuple(places) if len(places) <= 8 else (),
        ),
        planes.Axis("Fréchet distance (lower is better)", (0, 1.06 * top)),
        width=360,
        height=280,
        zoom=planes.ZOOM if not by_synthetic else f"{planes.ZOOM}_synthetic",
    )
    told = {"series": "Model", "x_text": x_title, "y_text": "Fréchet distance"}
    told |= {"trainings": "Trainings", "n": "n"}
    layers = []
    for line in lines if by_synthetic else []:
        if line.arm == "dm":
            (number,) = line.points.values()
            value, colour = number.interval, COLOURS["dm"]
            layers += marks.reference(value, plane, percent=False, colour=colour, name=line.name)
    layers += [
        marks.lines(rows, plane, "series", look={"strokeWidth": 1.6}, stroke=series.stroke()),
        marks.intervals(rows, plane, width=1.2, stroke=series.stroke()),
        draw_points(rows, plane, series, told),
    ]
    return style.Panel(plane, layers, design)
