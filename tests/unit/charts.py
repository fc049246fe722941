"""What stands in a chart's spec, and where it is drawn, for the tests of figures."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import vl_convert

from synthgap.figures import labels, planes, style


@dataclass(frozen=True)
class Panel:
    """A unit or layer chart of a spec."""

    spec: dict[str, Any]
    told: dict[str, Any]

    @property
    def title(self) -> str:
        return self.told.get("title", "")

    def layers(self, mark: str) -> list[dict[str, Any]]:
        return [layer for layer in self.told["layer"] if layer["mark"]["type"] == mark]

    def rows(self, layer: dict[str, Any]) -> list[dict[str, Any]]:
        """The data of a layer, without those that it leaves out."""
        data = next(at["data"] for at in (layer, self.told, self.spec) if "data" in at)
        rows = self.spec["datasets"][data["name"]]
        for step in layer.get("transform", []):
            if "flatten" in step:
                rows = [
                    row | dict(zip(step["as"], values, strict=True))
                    for row in rows
                    for values in zip(*(row[field] for field in step["flatten"]), strict=True)
                ]
                continue
            test = step["filter"]
            if isinstance(test, dict):
                rows = [row for row in rows if row[test["field"]] == test["equal"]]
                continue
            assert test.startswith(("isValid(datum.", "datum.")), step
            field = test.removeprefix("isValid(").removesuffix(")").removeprefix("datum.")
            valid = (lambda value: value is not None) if "isValid" in test else bool
            rows = [row for row in rows if valid(row.get(field))]
        return rows

    def points(self, by: str = "source") -> dict[str, tuple[Any, Any]]:
        """Where the marks stand, by a field of their rows."""
        found = {}
        for layer in self.layers("point"):
            x, y = (layer["encoding"][channel]["field"] for channel in "xy")
            found |= {row[by]: (row[x], row[y]) for row in self.rows(layer) if by in row}
        return found

    def intervals(self, along: str = "y", by: str = "source") -> dict[Any, tuple[float, float]]:
        """The ends of the bars along an axis, by a field of their rows."""
        found = {}
        for layer in self.layers("rule"):
            encoding = layer["encoding"]
            ends = [encoding.get(channel, {}).get("field") for channel in (along, f"{along}2")]
            if ends == [f"{along}_low", f"{along}_high"]:
                found |= {row[by]: tuple(row[end] for end in ends) for row in self.rows(layer)}
        return found

    def lines(self, by: str = "source") -> dict[str, dict[float, float]]:
        """Lines: by the field that tells them apart, y by x in the order of drawing."""
        found: dict[str, dict[float, float]] = {}
        for layer in self.layers("line"):
            if layer["encoding"].get("detail", {}).get("field") == by:
                for row in self.rows(layer):
                    found.setdefault(row[by], {})[row["x"]] = row["y"]
        return found

    def domain(self, axis: str) -> tuple[float, float]:
        """From where to where an axis reaches; all layers must agree."""
        scales = [
            layer["encoding"][axis]["scale"]["domain"]
            for layer in self.told["layer"]
            if "scale" in layer["encoding"].get(axis, {})
        ]
        assert all(domain == scales[0] for domain in scales)
        return tuple(scales[0])

    def labels(self) -> list[str]:
        """Names that are written in or beside the panel."""
        layer = self.layers("text")[-1]
        return [row[layer["encoding"]["text"]["field"]] for row in self.rows(layer)]


def read(chart: Any) -> dict[str, Any]:
    return json.loads(style.spec(chart))


def panels(chart: Any) -> list[Panel]:
    """The panels of a chart, in reading order."""
    spec = read(chart)
    return [Panel(spec, told) for told in spec.get("concat", [spec])]


def legend(chart: Any, field: str = "series") -> list[str]:
    """What the legend of a field names, wherever it stands."""
    found = [
        channel["scale"]["domain"]
        for panel in panels(chart)
        for layer in panel.told["layer"]
        for channel in layer["encoding"].values()
        if isinstance(channel, dict) and channel.get("field") == field and "scale" in channel
        if channel["scale"] and channel.get("legend", {}) is not None
    ]
    assert all(names == found[0] for names in found)
    return found[0] if found else []


_LOOK = ("axis", "legend", "title", "view")
Box = tuple[float, float, float, float]


def drawn_texts(chart: Any) -> list[tuple[str, Box]]:
    """Names as drawn: text and box in pixels. A halo under a name counts with it."""
    found: list[tuple[str, Box]] = []
    for item, x, y in _items(_scene(chart), "text"):
        width = labels.text_width(item["text"], item["fontSize"])
        left = {"left": 0.0, "right": width}.get(item.get("align", "center"), width / 2)
        x, y = x + item.get("dx", 0) - left, y + item.get("dy", 0)
        height = item["fontSize"] / 2
        box = (x, y - height, x + width, y + height)
        if (item["text"], box) not in found:
            found.append((item["text"], box))
    return found


def drawn_points(chart: Any) -> list[tuple[float, float]]:
    """Where marks are drawn, in pixels."""
    return [(x, y) for _, x, y in _items(_scene(chart), "symbol")]


def overlap(one: Box, other: Box) -> bool:
    """By more than places are rounded to."""
    sides = [min(one[i + 2], other[i + 2]) - max(one[i], other[i]) for i in (0, 1)]
    return min(sides) > 0.5


def warnings_of(chart: Any, capfd: Any) -> str:
    """What the compiler has to say against a spec."""
    capfd.readouterr()
    vl_convert.vegalite_to_vega(style.spec(chart), show_warnings=True)
    return capfd.readouterr().err


def check_conventions(chart: Any, fading: Iterable[str] = ("point", "rule")) -> None:
    """What the page and readers rely on, whichever the figure; `fading`: marks of its series."""
    spec = read(chart)
    text = style.spec(chart)
    assert spec["description"].endswith(".")
    assert spec["background"] == style.PAPER
    assert all(style.CONFIG[name].items() <= spec["config"][name].items() for name in _LOOK)
    for panel in panels(chart):
        assert all(isinstance(panel.told[side], int) for side in ("width", "height"))
        discrete = any(isinstance(panel.domain(axis)[0], str) for axis in "xy")
        name = panel.told["layer"][-1]["name"]
        zooms = [p for p in spec.get("params", []) if p["name"].startswith(planes.ZOOM)]
        assert any(name in p["views"] for p in zooms) != discrete
    for parameter in spec.get("params", []):
        if parameter["name"].startswith(planes.ZOOM):
            assert parameter["bind"] == "scales"
            assert "shiftKey" in parameter["select"]["zoom"]
            assert "shiftKey" in parameter["select"]["translate"]
    series = spec.get("usermeta", {}).get("series")
    if series:
        (shown,) = [p for p in spec["params"] if p["name"] == style.SHOWN]
        assert shown["select"]["fields"] == [series["field"]]
        told = [layer for panel in panels(chart) for layer in panel.told["layer"]]
        faded = [layer for layer in told if '"param": "shown"' in json.dumps(layer)]
        assert {layer["mark"]["type"] for layer in faded} >= set(fading)
        for layer in faded:
            opacity = layer["encoding"]["opacity"]
            # Veils are thin when they are shown, too.
            whole = opacity["condition"]["value"] if layer["mark"]["type"] == "area" else 1
            assert opacity["value"] == style.FADED * whole
        values = {row.get(series["field"]) for rows in spec["datasets"].values() for row in rows}
        assert values - {None} <= set(series["values"])
    assert not {"#000000", "#000", "white", "black"} & set(text.split('"'))


def _scene(chart: Any) -> dict[str, Any]:
    scene: dict[str, Any] = vl_convert.vegalite_to_scenegraph(style.spec(chart))["scenegraph"]
    return scene


def _items(
    mark: dict[str, Any], kind: str, x: float = 0, y: float = 0
) -> list[tuple[dict[str, Any], float, float]]:
    """Items of marks of one kind, without those of axes, legends and titles, with their places."""
    found = []
    for item in mark.get("items", []):
        at = x + item.get("x", 0), y + item.get("y", 0)
        if mark["marktype"] == "group" and mark.get("role") in ("frame", "scope", "mark"):
            for inner in item["items"]:
                found += _items(inner, kind, *at)
        elif mark["marktype"] == kind and mark.get("role") == "mark":
            found.append((item, *at))
    return found
