"""Where marks stand: axes, and the planes that they span."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import altair as alt

ZOOM = "zoom"
# Fractions as percentages, on axes and legends.
PERCENT = "format(100 * datum.value, '.6~g') + '\\u00a0%'"
Pixels = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """An axis: what it is called, and what it reaches from and to; or the names on it."""

    title: str = ""
    domain: tuple[float, float] = (0, 1)
    percent: bool = False
    log: bool = False
    ticks: tuple[float, ...] = ()
    """marks at these values alone, written in full"""
    count: int = 5
    """about how many marks, where they are not told"""
    whole: bool = False
    """marks at whole numbers without thousands' commas: years"""
    names: tuple[str, ...] = ()
    """of a discrete axis, in the order of drawing (from the top)"""
    labels: bool = True
    """False: names that a neighbouring panel has already; the page writes them in panels that it
    lays under each other"""
    grid: bool = True
    angle: int = 0
    """that names below a panel are turned by, in degrees: those too long for a line go up, at -30
    or so"""

    def share(self, value: float | str) -> float:
        """Where a value lies on the axis, from 0 to 1."""
        if self.names:
            return (self.names.index(str(value)) + 0.5) / len(self.names)
        low, high = self.domain
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(float(value))
        return (float(value) - low) / (high - low)

    def scale(self) -> alt.Scale:
        """As Vega-Lite has it: nothing is rounded, and zero does not come in by itself."""
        if self.names:
            return alt.Scale(domain=list(self.names), type="band", padding=0)
        kind: Any = {"type": "log"} if self.log else {"zero": False}
        return alt.Scale(domain=list(self.domain), nice=False, **kind)

    def axis(self) -> alt.Axis:
        """Marks, their labels and the grid."""
        told: dict[str, Any] = {"grid": self.grid}
        if not self.labels:
            told["labels"] = False
        if self.names:
            angle: dict[str, Any] = {"labelAlign": "right"} if self.angle else {}
            return alt.Axis(
                **told, ticks=False, domain=False, labelPadding=8, labelAngle=self.angle, **angle
            )
        if self.ticks:
            told["values"] = list(self.ticks)
        else:
            told["tickCount"] = self.count
        if self.percent:
            told["labelExpr"] = PERCENT
        elif self.whole:
            told |= {"format": "d", "tickMinStep": 1}
        elif self.ticks:
            told["format"] = ",~r" if self.log else ",.10~g"
        return alt.Axis(**told)


@dataclass(frozen=True)
class Plane:
    """Where marks stand: two axes and their lengths in pixels.

    Panels whose planes have the same `zoom` are zoomed together; "" for none.
    """

    x: Axis
    y: Axis
    width: int = 560
    height: int = 340
    zoom: str = ZOOM

    def place(self, x: float | str, y: float | str) -> Pixels:
        """Pixels to the right and down from the upper left corner."""
        down = self.y.share(y) if self.y.names else 1 - self.y.share(y)
        return self.x.share(x) * self.width, down * self.height

    def across(self, field: str = "x") -> alt.X:
        """The x channel of a field."""
        return alt.X(field, **_channel(self.x))

    def up(self, field: str = "y") -> alt.Y:
        """The y channel of a field."""
        return alt.Y(field, **_channel(self.y))

    @property
    def can_zoom(self) -> bool:
        """Planes with names on an axis can not."""
        return bool(self.zoom) and not self.x.names and not self.y.names

    @property
    def inside(self) -> str:
        """Whether a datum's point is not zoomed away, as an expression; "" where none can be."""
        if not self.can_zoom:
            return ""
        return " && ".join(
            f"(!isValid({self.zoom}.{field}) || inrange(datum.{field}, {self.zoom}.{field}))"
            for field in ("x", "y")
        )


def reach(
    values: Iterable[float | None], margin: float = 0.08, *, log: bool = False
) -> tuple[float, float]:
    """A domain that holds all of these, and some room at either end."""
    found = [value for value in values if value is not None and not math.isnan(value)]
    low, high = min(found), max(found)
    if log:
        low, high = math.log(low), math.log(high)
    more = margin * (high - low) if high > low else 0.05 * abs(high) or 0.05
    low, high = low - more, high + more
    return (math.exp(low), math.exp(high)) if log else (low, high)


def _channel(axis: Axis) -> dict[str, Any]:
    kind = "nominal" if axis.names else "quantitative"
    return {"type": kind, "title": axis.title or None, "scale": axis.scale(), "axis": axis.axis()}
