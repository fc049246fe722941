"""Where in the image and in which frequencies distributions differ (paper C, table 7, figure 5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import altair as alt

from synthgap.figures import labels, marks, planes, style
from synthgap.figures.comparisons import (
    Look,
    classifier_looks,
    comparison_looks,
    comparisons,
    draw_chance,
    draw_points,
    rows_on,
    series_of,
)
from synthgap.metrics.table import Row
from synthgap.metrics.table import rows as table_rows

Options = Mapping[str, Any]
Kind = tuple[str, str, Callable[[Options], float], Callable[[Options], str]]
# Kind of view -> title, x axis, place on it, its label. In the order of drawing.
PANELS: dict[str, Kind] = {
    "center_crop": (
        "Centre crops", "side in pixels",
        lambda o: o["size"], lambda o: f"{o['size']}",
    ),
    "random_crops": (
        "Crops at random places", "side in pixels",
        lambda o: o["size"], lambda o: f"{o['size']}",
    ),
    "resize": (
        "Resolution", "side in pixels",
        lambda o: o["size"], lambda o: f"{o['size']}",
    ),
    "jpeg": (
        "All as JPEG", "quality",
        lambda o: o["quality"], lambda o: f"{o['quality']}",
    ),
    "low_pass": (
        "Low frequencies alone", "up to this half-width of the spectrum, in pixels",
        lambda o: o["half_width"], lambda o: f"{o['half_width']}",
    ),
    "band_pass": (
        "A band of frequencies", "half-widths of the band, in pixels",
        lambda o: o["low"], lambda o: f"{o['low']}–{o['high']}",
    ),
    "high_pass": (
        "High frequencies alone", "from this half-width of the spectrum on, in pixels",
        lambda o: o["half_width"], lambda o: f"{o['half_width']}",
    ),
}  # fmt: skip
OTHER = "other"
_OTHER: Kind = ("Other views", "", lambda _: 0.0, str)
ACROSS = 3  # panels in a row
WIDTH, HEIGHT = 240, 220


def draw(table: Any) -> alt.LayerChart | alt.ConcatChart:
    """Accuracy by view, a panel for each kind of view and classifier, a line for each comparison.

    The dashed lines are what the same classifier reaches on whole images, the dotted one is chance.

    Args:
        table: the metrics table.

    Raises:
        UserError: no rows of the study `distinguish` on the axis `views`.
    """
    rows = rows_on(table_rows(table), "views")
    looks = comparison_looks(comparisons(rows))
    classifiers = classifier_looks(rows)
    ends = [end for row in rows for end in marks.interval(row)]
    domain = planes.reach([*ends, *(float(row.settings["chance"]) for row in rows)], 0.04)
    panels: list[style.Panel] = []
    for classifier, look in classifiers.items():
        own = [row for row in rows if row.architecture == classifier]
        whole = [row for row in own if not row.settings.get("view_options")]
        for kind, found in _panels(own).items():
            first = len(panels) % ACROSS == 0
            panel = _panel(kind, found, whole, looks, domain, titled=first)
            if len(classifiers) > 1:
                panel = replace(panel, title=(PANELS.get(kind, _OTHER)[0], look.label))
            panels.append(panel)
    return style.finish(
        panels,
        "Accuracy of telling which source images are of when only a part of them is seen, a panel "
        "for each kind of part, with 95 % intervals; dashed lines are whole images.",
        series=series_of(looks.values()),
        columns=min(ACROSS, len(panels)),
    )


def numbers(table: Any) -> list[Row]:
    """The rows that `draw` shows."""
    return rows_on(table_rows(table), "views")


def _panels(rows: list[Row]) -> dict[str, list[Row]]:
    """Rows by kind of view, as drawn; kinds without an axis of their own together."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if kind := row.settings.get("view_options", {}).get("kind"):
            found.setdefault(kind if kind in PANELS else OTHER, []).append(row)
    return {kind: found[kind] for kind in [*PANELS, OTHER] if kind in found}


def _panel(
    kind: str,
    found: list[Row],
    whole: list[Row],
    looks: Mapping[str, Look],
    domain: tuple[float, float],
    *,
    titled: bool,
) -> style.Panel:
    title, x_title, place, tick = PANELS.get(kind, _OTHER)
    views: dict[str, Options] = {str(r.view): r.settings["view_options"] for r in found}
    ordered = sorted(views, key=lambda view: (place(views[view]), view))
    ticks = ordered if kind == OTHER else [tick(views[view]) for view in ordered]
    names = dict(zip(ordered, ticks if len({*ticks}) == len(ticks) else ordered, strict=True))
    series = series_of(looks.values())
    room = max(labels.text_width(name, 11) for name in names.values()) + 6
    plane = planes.Plane(
        planes.Axis(
            x_title, names=tuple(names.values()), angle=-30 if room > WIDTH / len(names) else 0
        ),
        planes.Axis("Accuracy of telling the source" if titled else "", domain, percent=True),
        width=WIDTH,
        height=HEIGHT,
    )
    apart = min(5, 0.7 * WIDTH / len(names) / len(looks))
    values = [
        marks.number("y", row)
        | {"x": names[str(row.view)], "view": row.view, "place": ordered.index(str(row.view))}
        | {"series": looks[name].label, "n": row.n}
        | {"shift": style.dodge(number, len(looks), apart)}
        for number, name in enumerate(looks)
        for row in sorted(found, key=lambda row: ordered.index(str(row.view)))
        if row.settings["comparison"] == name
    ]
    order = alt.Order("place", type="quantitative")
    thin = {"strokeWidth": 1.4}
    told = {"series": "Comparison", "view": "View", "y_text": "Accuracy", "n": "n"}
    layers = [draw_chance(found, plane)]
    if kind != OTHER:
        layers.append(
            marks.lines(values, plane, "series", look=thin, stroke=series.stroke(), order=order)
        )
    layers.append(marks.intervals(values, plane, width=1.2, stroke=series.stroke()))
    if whole:
        # The legend looks like what comes first.
        layers.append(_whole(whole, looks, plane, series))
    layers.append(draw_points(values, plane, series, told))
    return style.Panel(plane, layers, title)


def _whole(
    rows: list[Row], looks: Mapping[str, Look], plane: planes.Plane, series: style.Series
) -> alt.Chart:
    """A dashed line for each comparison, at what whole images come to."""
    values = [
        marks.number("y", row)
        | {"series": looks[row.settings["comparison"]].label, "name": "whole images"}
        for row in rows
    ]
    chart = marks.chart_of(values).mark_rule(strokeWidth=1, strokeDash=style.DASHES)
    told = marks.tips(series="Comparison", name="View", y_text="Accuracy")
    found: alt.Chart = chart.encode(
        y=plane.up(), stroke=series.stroke(), opacity=style.faded(), tooltip=told
    )
    return found
