"""The look of all figures: colours, legends, panels, and what is written of them.

Each figure is one Vega-Lite spec, for the page and for print. Colours are those of Okabe and Ito,
which stay apart under the common colour-vision deficiencies; nothing is told by colour alone.
`NEUTRALS` are the only others: the page puts dark ones in their place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import vl_convert

from synthgap.figures.data import prompt_title
from synthgap.figures.planes import Plane

INK = "#1f2933"
MUTED = "#6b7785"
GRID = "#e4e8ec"
REAL_COLOUR = "#3d4752"
PAPER = "#ffffff"
NEUTRALS = (INK, MUTED, GRID, REAL_COLOUR, PAPER)
SPARE_COLOURS = ("#56B4E9", "#E69F00", "#CC79A7", "#009E73")
PROMPT_COLOURS = {"classname": "#0072B2", "caption": "#D55E00"}
PROMPT_SHAPES = {"classname": "circle", "caption": "square"}
SPARE_SHAPES = ("triangle-up", "diamond", "triangle-down", "cross")
PROBE_COLOURS = {
    "structure": "#009E73",
    "texture": "#CC79A7",
    "low": "#56B4E9",
    "band": "#D55E00",
    "high": "#E69F00",
}
STAR = (
    "M0,-1 L0.235,-0.324 L0.951,-0.309 L0.38,0.124 L0.588,0.809 L0,0.4"
    " L-0.588,0.809 L-0.38,0.124 L-0.951,-0.309 L-0.235,-0.324 Z"
)
DASHES = [7, 3]
FADED = 0.12
SHOWN = "shown"
_SHIFT_DRAG = "[pointerdown[event.shiftKey], window:pointerup] > window:pointermove!"
CONFIG: dict[str, Any] = {
    "font": "sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": INK,
        "labelFontSize": 11,
        "labelLimit": 0,
        "titleColor": INK,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "titlePadding": 8,
        "gridColor": GRID,
        "domainColor": MUTED,
        "tickColor": MUTED,
    },
    "legend": {
        "orient": "bottom",
        "direction": "horizontal",
        "labelColor": INK,
        "labelFontSize": 11,
        "labelLimit": 0,
        "titleColor": INK,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "symbolSize": 70,
        "columnPadding": 18,
        "gradientStrokeColor": GRID,
    },
    "title": {"anchor": "start", "color": INK, "fontSize": 13, "offset": 10, "frame": "group"},
    "point": {"opacity": 1},
    # Points are told to those who hear the page, and what repeats them is not.
    **{mark: {"aria": False} for mark in ("line", "rect", "rule", "text")},
    "concat": {"spacing": 28},
}


@dataclass(frozen=True)
class Series:
    """What the legend tells apart, and what readers can choose to see alone."""

    names: tuple[str, ...]
    colours: tuple[str, ...] = ()
    shapes: tuple[str, ...] = ()
    fills: tuple[str, ...] = ()
    """of the marks, where these are not the colours"""
    field: str = "series"
    legend: bool = True
    """False: a click on a mark chooses"""

    def colour(self) -> alt.Color:
        """The colour of filled marks, lines and intervals."""
        return alt.Color(self.field, **self._told(self.colours))

    def stroke(self) -> alt.Stroke:
        """The outline's colour, of marks with other fills."""
        return alt.Stroke(self.field, **self._told(self.colours))

    def fill(self) -> alt.Fill:
        """The fill, of marks with other outlines."""
        return alt.Fill(self.field, **self._told(self.fills or self.colours))

    def shape(self, **legend: Any) -> alt.Shape:
        """The shape of marks; `legend`: how it looks there, if not as its colours."""
        told = self._told(self.shapes)
        return alt.Shape(self.field, **told | ({"legend": alt.Legend(**legend)} if legend else {}))

    def beside(self, along: str) -> alt.XOffset | alt.YOffset:
        """The offset that spreads series over each name's room on a discrete axis, "x" or "y"."""
        scale = alt.Scale(domain=list(self.names), type="point", padding=1)
        channel = alt.XOffset if along == "x" else alt.YOffset
        return channel(self.field, type="nominal", scale=scale)

    def _told(self, looks: Sequence[str]) -> dict[str, Any]:
        scale = alt.Scale(domain=list(self.names), range=list(looks))
        # A second legend of the same field would not be one with the first unless all agree.
        legend = {} if self.legend else {"legend": None}
        return {"type": "nominal", "title": None, "scale": scale, **legend}


@dataclass(frozen=True)
class Panel:
    """Layers on one plane, the lowest first; the last must have fields `x` and `y`."""

    plane: Plane
    layers: Sequence[alt.Chart]
    title: str | Sequence[str] = ""
    """or the title's lines"""


def finish(
    panels: Sequence[Panel],
    description: str,
    *,
    series: Series | None = None,
    columns: int = 1,
) -> alt.LayerChart | alt.ConcatChart:
    """Panels as one chart, with all that figures have in common.

    Args:
        description: one sentence for those who hear the page.
        series: what readers can choose of; all else fades.
        columns: panels in a row.
    """
    made = []
    zoomed: dict[str, list[str]] = {}
    choosing: list[str] = []
    datasets: dict[str, list[Any]] = {}
    for place, panel in enumerate(panels):
        plane, name = panel.plane, f"panel_{place}"
        layers = [_with_named_rows(layer, datasets) for layer in panel.layers]
        layers[-1] = layers[-1].properties(name=name)
        if plane.can_zoom:
            zoomed.setdefault(plane.zoom, []).append(name)
        # One view hears the legend that panels share; each hears clicks on its own marks.
        if series and (place == 0 or not series.legend):
            at = _legend_of(series, layers)
            if at != len(layers) - 1:
                name = f"legend_{place}"
                layers[at] = layers[at].properties(name=name)
            choosing.append(name)
        title = {"title": panel.title} if panel.title else {}
        made.append(alt.layer(*layers).properties(width=plane.width, height=plane.height, **title))
    config = CONFIG
    if series and series.legend:
        width = sum(panel.plane.width for panel in panels[:columns])
        config = CONFIG | {"legend": CONFIG["legend"] | _legend_columns(series.names, width)}
    parameters = [_parameter(_zoom(name), views) for name, views in zoomed.items()]
    usermeta: dict[str, Any] = {}
    if series:
        parameters.append(_parameter(_shown(series), choosing))
        usermeta["series"] = {"field": series.field, "values": list(series.names)}
    chart: Any = made[0] if len(made) == 1 else alt.concat(*made, columns=columns)
    if len(made) > 1:
        # Panels have rooms of their own for names; by default all would have the first one's.
        chart = chart.resolve_scale(xOffset="independent", yOffset="independent")
    extra: dict[str, Any] = {"usermeta": usermeta} if usermeta else {}
    if parameters:
        extra["params"] = parameters
    chart = chart.properties(
        description=description,
        background=PAPER,
        padding=10,
        config=config,
        datasets=datasets,
        **extra,
    )
    found: alt.LayerChart | alt.ConcatChart = chart
    return found


def spec(chart: alt.TopLevelMixin) -> str:
    """The chart as Vega-Lite JSON; the same chart gives the same bytes."""
    told = chart.to_dict()
    return json.dumps(
        told, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True
    )


def svg(chart: alt.TopLevelMixin) -> str:
    """The chart as SVG text, drawn here without network; the same chart gives the same bytes."""
    drawn = str(vl_convert.vegalite_to_svg(spec(chart), allowed_base_urls=[]))
    # Names of clips and gradients are counted on from figure to figure.
    names = dict.fromkeys(re.findall(r' id="((?:clip|gradient_)\d+)"', drawn))
    places = {name: f"part-{place}" for place, name in enumerate(names)}
    return re.sub(
        r'( id="|url\(#|href="#)((?:clip|gradient_)\d+)\b',
        lambda found: found[1] + places[found[2]],
        drawn,
    )


def faded(full: float = 1) -> alt.OpacityValue:
    """So opaque where a mark's series is shown, and nearly gone elsewhere."""
    return alt.OpacityValue(FADED * full, condition={"param": SHOWN, "value": full})


def prompt_series(kinds: Sequence[str]) -> Series:
    """Kinds of prompt in their colours and shapes; the field holds `data.prompt_title`."""
    return Series(
        tuple(prompt_title(kind) for kind in kinds),
        tuple(prompt_colour(kind, kinds) for kind in kinds),
        tuple(prompt_shape(kind, kinds) for kind in kinds),
    )


def prompt_colour(prompts: str, kinds: Sequence[str]) -> str:
    """Colour of a kind of prompt; unknown kinds take spare ones in order."""
    return _pick(prompts, kinds, PROMPT_COLOURS, SPARE_COLOURS)


def prompt_shape(prompts: str, kinds: Sequence[str]) -> str:
    """Shape of a kind of prompt's marks; unknown kinds take spare ones in order."""
    return _pick(prompts, kinds, PROMPT_SHAPES, SPARE_SHAPES)


def shade(colour: str, share: float) -> str:
    """From a light tint of a colour (0) over itself to a dark shade (1)."""
    rgb = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    # Light enough and dark enough to be seen on either ground.
    tint, dark = [0.45 * c + 0.5 for c in rgb], [0.62 * c for c in rgb]
    start, end, at = (tint, rgb, 2 * share) if share < 0.5 else (rgb, dark, 2 * share - 1)
    mixed = [(1 - at) * a + at * b for a, b in zip(start, end, strict=True)]
    return "#" + "".join(f"{round(255 * c):02x}" for c in mixed)


def dodge(index: int, count: int, pixels: float = 7) -> float:
    """How far a series is moved sideways on paper, so that intervals do not hide each other."""
    return (index - (count - 1) / 2) * pixels


def _legend_columns(names: Sequence[str], width: float) -> dict[str, int]:
    """So many columns that a legend is not much wider than its panels; none where a row will do."""
    # A letter, a symbol and the room between columns, in pixels.
    widths = [6 * len(name) + 40 for name in names]
    for columns in range(len(names), 0, -1):
        if sum(max(widths[i::columns]) for i in range(columns)) <= width:
            break
    return {"columns": columns} if columns < len(names) else {}


def _legend_of(series: Series, layers: Sequence[alt.Chart]) -> int:
    """The layer whose legend is drawn, the first: a parameter of another would not hear it."""
    if series.legend:
        for place, layer in enumerate(layers):
            told: Any = layer.encoding
            for channel in ("color", "fill", "stroke", "shape"):
                if getattr(getattr(told, channel), "shorthand", None) == series.field:
                    return place
    return len(layers) - 1


def _with_named_rows(layer: alt.Chart, datasets: dict[str, list[Any]]) -> alt.Chart:
    """The layer with its rows among `datasets`, where layers with the same ones share them."""
    told: Any = layer.data
    known = [name for name, rows in datasets.items() if rows == told.values]
    name = known[0] if known else f"rows_{len(datasets)}"
    datasets[name] = told.values
    return layer.properties(data=alt.NamedData(name=name))


def _shown(series: Series) -> alt.Parameter:
    bound: dict[str, Any] = {"bind": "legend"} if series.legend else {"on": "click"}
    return alt.selection_point(name=SHOWN, fields=[series.field], toggle="true", **bound)


def _zoom(name: str) -> alt.Parameter:
    wheel = "wheel![event.shiftKey]"
    return alt.selection_interval(name=name, bind="scales", zoom=wheel, translate=_SHIFT_DRAG)


def _parameter(parameter: alt.Parameter, views: list[str]) -> alt.TopLevelSelectionParameter:
    told: Any = parameter.param
    return alt.TopLevelSelectionParameter(**told.to_dict(), views=views)


def _pick(name: str, kinds: Sequence[str], known: Mapping[str, str], spare: Sequence[str]) -> str:
    if name in known:
        return known[name]
    unknown = [kind for kind in kinds if kind not in known]
    return spare[unknown.index(name) % len(spare)]
