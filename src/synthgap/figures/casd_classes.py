"""Of which classes generated images are, where real and synthetic ones have others (paper D)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import altair as alt

from synthgap.errors import UserError
from synthgap.figures import labels, marks, planes, style
from synthgap.figures.arms import Number
from synthgap.figures.casd import Model, designs, shares
from synthgap.figures.casd_by_size import COLOURS
from synthgap.figures.comparisons import SHAPES, Look, draw_dotted, draw_points, series_of
from synthgap.metrics.table import Row
from synthgap.metrics.table import rows as table_rows

Found = Mapping[Model, Mapping[str, Number]]
WIDTH = 720


def draw(table: Any) -> alt.LayerChart | alt.ConcatChart:
    """A panel a design: the share of each class among a model's images, as a classifier sees them.

    Paper D's figure 3. Classes that no real image is of are marked by a grey ground: there DM has
    nothing but the classifier's errors.

    Args:
        table: the metrics table.

    Raises:
        UserError: no shares of classes in the table.
    """
    found = _chosen(table)
    titles = dict.fromkeys(_title(model) for of in found.values() for model in of)
    arms = {_title(model): model.arm for of in found.values() for model in of}
    looks = [
        Look(title, COLOURS[arms[title]], SHAPES[place % len(SHAPES)])
        for place, title in enumerate(titles)
    ]
    series = series_of(looks)
    return style.finish(
        [_panel(design, of, series) for design, of in found.items()],
        "The share of each class among the images that models generate, with 95 % intervals; a "
        "panel for each design, in which classes without real images stand on grey ground.",
        series=series,
    )


def numbers(table: Any) -> list[Row]:
    """The rows that `draw` shows."""
    found = [
        number for of in _chosen(table).values() for own in of.values() for number in own.values()
    ]
    # Designs share models.
    return list({id(row): row for number in found for row in number.rows}.values())


def _chosen(table: Any) -> dict[str, Found]:
    """By design, the shares of its models: of designs with classes, or of all where none has."""
    rows = table_rows(table)
    found: dict[str, Found] = {}
    for design in designs(rows):
        if of := shares(rows, design):
            found[design] = of
    if not found:
        raise UserError("metrics table: no shares of classes of the study casd to draw")
    mismatched = {d: of for d, of in found.items() if next(iter(of)).classes is not None}
    return mismatched or found


def _title(model: Model) -> str:
    return f"{model.title}, {model.images:,} real images"


def _panel(design: str, found: Found, series: style.Series) -> style.Panel:
    names = list(next(iter(found.values())))
    real = next(iter(found)).classes
    rows = [
        marks.number("y", own[name].interval)
        | {"x": name, "series": _title(model), "n": own[name].rows[0].n}
        | {"trainings": own[name].trainings}
        for model, own in found.items()
        for name in names
    ]
    ends = [row.get(f"y{end}") for row in rows for end in ("", "_low", "_high")]
    if real is not None:
        ends.append(1 / len(real))
    room = max(labels.text_width(name, 11) for name in names) + 6
    plane = planes.Plane(
        planes.Axis(names=tuple(names), grid=False, angle=-30 if room > WIDTH / len(names) else 0),
        planes.Axis("Share of generated images", planes.reach(ends, 0.04), percent=True),
        width=WIDTH,
        height=220,
    )
    layers: list[alt.Chart] = []
    if real is not None:
        layers += [*_ground([n for i, n in enumerate(names) if i not in real], plane)]
        even = "even share of the real classes"
        layers.append(draw_dotted([1 / len(real)], even, plane))
    present = [_title(model) for model in found]
    beside = replace(series, names=tuple(n for n in series.names if n in present)).beside("x")
    told = {"x": "Class", "series": "Model", "y_text": "Share of generated images"}
    told |= {"trainings": "Trainings", "n": "n"}
    layers += [
        marks.intervals(rows, plane, stroke=series.stroke(), xOffset=beside),
        draw_points(rows, plane, series, told, xOffset=beside),
    ]
    return style.Panel(plane, layers, design)


def _ground(names: list[str], plane: planes.Plane) -> list[alt.Chart]:
    """Grey ground under classes that no real image is of."""
    if not names:
        return []
    rows = [{"x": name, "name": "not real"} for name in names]
    chart = marks.chart_of(rows).mark_rect(fill=style.GRID, opacity=0.7)
    return [chart.encode(x=plane.across().bandPosition(0), x2=alt.X2("x", bandPosition=1))]
