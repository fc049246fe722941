"""The page's figures: what to see in each, and the numbers behind it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from synthgap.figures.style import NEUTRALS
from synthgap.report.figure_captions import CAPTIONS, WIDE
from synthgap.report.formats import sentence

# What takes the place of each neutral colour on a dark page.
DARK = dict(zip(NEUTRALS, ("#e6eaee", "#a3aeb9", "#313b45", "#c7d0d9", "#12171c"), strict=True))


@dataclass(frozen=True)
class Shown:
    """A figure of the page; `numbers` is a link's target, or empty.

    `spec` is Vega-Lite's JSON, empty where a picture is all there is; `series` are the names in its
    legend that can be brought out.
    """

    name: str
    title: str
    caption: str
    uri: str
    numbers: str
    wide: bool
    spec: Markup
    series: list[str]


def figures(
    drawn: Mapping[str, str], numbers: Mapping[str, str], specs: Mapping[str, str]
) -> list[Shown]:
    """Figures in the page's order, those without a caption last.

    Args:
        drawn: SVG text by name.
        numbers: CSV text by name, of figures that are to offer theirs.
        specs: Vega-Lite's JSON by name, of figures that are to react.
    """
    order = list(CAPTIONS)
    names = sorted(drawn, key=lambda n: (order.index(n) if n in order else len(order), n))
    found = []
    for name in names:
        title, caption = CAPTIONS.get(name, (sentence(name.replace("_", " ")), ""))
        svg = data_uri("image/svg+xml", drawn[name].encode())
        csv = data_uri("text/csv;charset=utf-8", numbers[name].encode()) if name in numbers else ""
        spec = specs.get(name, "")
        series = json.loads(spec).get("usermeta", {}).get("series", {}) if spec else {}
        # Within a `script` element, `<` would begin a tag.
        text = Markup(spec.replace("<", "\\u003c"))
        found.append(
            Shown(name, title, caption, svg, csv, name in WIDE, text, series.get("values", []))
        )
    return found


def data_uri(kind: str, content: bytes) -> str:
    """A file's content as an address."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
