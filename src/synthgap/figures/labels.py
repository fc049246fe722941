"""Names beside points and at the ends of lines, where they hide neither marks nor each other.

Places are computed for the printed size. They are pixels from the point that is named, so that a
name stays at its point when readers zoom.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt
import numpy as np
from numpy.typing import NDArray

from synthgap.figures.marks import Datum, chart_of
from synthgap.figures.planes import Plane
from synthgap.figures.style import FADED, INK, MUTED, PAPER, SHOWN

SIZE = 10.5
STEP = 13.0
"""from the middle of one name to the next one's, in pixels"""
Segment = tuple[float, float, float, float]
"""x0, y0, x1, y1"""

_NARROW, _WIDE = set("iljtfrI.,:;'|!()[] -"), set("mwMW%@")
_DISTANCES = np.array([9.0, 16, 27, 40, 56])
# Right, above, below, left, then the oblique ones; y points down.
_DIRECTIONS = np.array(
    [
        *((1, 0), (0, -1), (0, 1), (-1, 0)),
        *((0.8, -0.8), (0.8, 0.8), (-0.8, -0.8), (-0.8, 0.8)),
        *((0.5, -1), (0.5, 1), (-0.5, -1), (-0.5, 1)),
    ]
)


def text_width(text: str, size: float = SIZE) -> float:
    """About how wide a text is in pixels; rather more than less, as fonts differ."""
    ems = (
        0.38 if c in _NARROW else 0.95 if c in _WIDE else 0.7 if c.isupper() else 0.6 for c in text
    )
    return size * sum(ems)


def label_points(
    rows: Sequence[Datum],
    plane: Plane,
    *,
    marks: Iterable[Datum] = (),
    lines: Iterable[Segment] = (),
    carry: Sequence[str] = ("series",),
) -> list[alt.Chart]:
    """Write each row's `label` beside its point.

    Greedy: each label takes the nearest free one of sixty places around its point, or the least
    covered; a thin leader joins a label that had to go far.

    Args:
        rows: with `x`, `y` and `label`.
        marks: rows whose points and intervals are kept clear of.
        lines: the same, in data coordinates.
        carry: fields that labels need of their rows, to fade with them.
    """
    if not rows:
        return []
    found = [
        {"x": row["x"], "y": row["y"], "label": row["label"], **place}
        | {field: row[field] for field in carry if field in row}
        for row, place in zip(rows, places(rows, plane, marks, lines), strict=True)
    ]
    opacity = _opacity(plane)
    at = {"x": plane.across(), "y": plane.up(), "opacity": opacity}
    named = chart_of(found)
    charts = []
    if any(row["far"] for row in found):
        leader = named.transform_filter("datum.far").mark_rule(
            stroke=MUTED,
            strokeWidth=0.7,
            clip=False,
            xOffset=alt.ExprRef("datum.shift"),
            x2Offset=alt.ExprRef("datum.end_dx"),
            y2Offset=alt.ExprRef("datum.end_dy"),
        )
        charts.append(leader.encode(**at, x2=alt.X2("x"), y2=alt.Y2("y")))
    look: dict[str, Any] = {
        "fontSize": SIZE,
        "baseline": "middle",
        "dx": alt.ExprRef("datum.dx"),
        "dy": alt.ExprRef("datum.dy"),
        "clip": False,
    }
    text = alt.Text("label", type="nominal")
    halo = named.mark_text(stroke=PAPER, strokeWidth=3, strokeJoin="round", **look)
    charts.append(halo.encode(**at, text=text))
    charts.append(named.mark_text(color=INK, **look).encode(**at, text=text))
    return charts


def places(
    rows: Sequence[Datum],
    plane: Plane,
    marks: Iterable[Datum] = (),
    lines: Iterable[Segment] = (),
) -> list[Datum]:
    """Where the labels of `label_points` stand: `dx`, `dy` of their middles from their points.

    `far` ones need a leader, which goes from the point, moved by `shift`, to `end_dx`, `end_dy`.
    """
    frame = np.array([[4.0, 4, plane.width - 4, plane.height - 4]])
    busy = [np.zeros((0, 4)), *(_boxes(plane, row) for row in marks)]
    for x0, y0, x1, y1 in lines:
        busy.append(_pieces(plane.place(x0, y0), plane.place(x1, y1)))
    found: list[Datum] = []
    for row in rows:
        half = np.array([text_width(row["label"]), 1.15 * SIZE]) / 2
        shift = np.array([row.get("shift", 0.0), 0.0])
        centre = np.array(plane.place(row["x"], row["y"])) + shift
        offsets = np.concatenate([_DIRECTIONS * (away + half) for away in _DISTANCES])
        boxes = np.hstack([centre + offsets - half, centre + offsets + half])
        covered = _overlaps(boxes, np.concatenate(busy)).sum(axis=1)
        outside = 4 * half.prod() - _overlaps(boxes, frame)[:, 0]
        best = int(np.argmin(np.repeat(_DISTANCES, len(_DIRECTIONS)) + 2 * (covered + outside)))
        busy.append(boxes[best : best + 1])
        dx, dy = offsets[best] + shift
        # The leader ends at the label's box, on the way to its middle.
        part = 1 - min(1.0, *(half / np.maximum(np.abs(offsets[best]), 1e-9)))
        end_dx, end_dy = part * offsets[best] + shift
        place = {"dx": dx, "dy": dy, "end_dx": end_dx, "end_dy": end_dy, "shift": shift[0]}
        told: Datum = {name: round(float(value), 1) for name, value in place.items()}
        found.append(told | {"far": best >= 2 * len(_DIRECTIONS)})
    return found


def label_ends(
    rows: Sequence[Datum], plane: Plane, *, carry: Sequence[str] = ("series",)
) -> list[alt.Chart]:
    """Write each row's `label` right of the panel, at the height of its line's end.

    Names that would overlap are moved apart, in the order of their heights, as little as is needed;
    thin leaders in the rows' `colour` join them to their lines.

    Args:
        rows: with `x` and `y` (where a line ends), `label` and `colour`.
        carry: fields that labels need of their rows, to fade with them; those of rows without any
            do not fade.
    """
    if not rows:
        return []
    # From the top down, as pixels go.
    rows = sorted(rows, key=lambda row: (-row["y"], row["label"]))
    heights = np.array([plane.place(row["x"], row["y"])[1] for row in rows])
    moved = apart(heights, STEP, 0, plane.height) - heights
    found = [
        {name: row[name] for name in ("x", "y", "label", "colour", *carry) if name in row}
        | {"dy": round(float(dy), 1)}
        for row, dy in zip(rows, moved, strict=True)
    ]
    named = chart_of(found)
    staying = not all(any(name in row for name in carry) for row in rows)
    opacity = _opacity(plane, carry if staying else ())
    dy = alt.ExprRef("datum.dy")
    leader = named.mark_rule(strokeWidth=0.8, clip=False, x2Offset=14, y2Offset=dy).encode(
        x=plane.across(),
        x2=alt.value("width"),
        y=plane.up(),
        y2=alt.Y2("y"),
        stroke=alt.Stroke("colour", type="nominal", scale=None),
        opacity=opacity,
    )
    text = named.mark_text(
        align="left", baseline="middle", fontSize=SIZE, color=INK, dx=17, dy=dy, clip=False
    ).encode(
        x=alt.value("width"), y=plane.up(), text=alt.Text("label", type="nominal"), opacity=opacity
    )
    return [leader, text]


def apart(wanted: NDArray[np.float64], step: float, low: float, high: float) -> NDArray[np.float64]:
    """Rising places `step` apart at least, near rising wanted ones and, if they fit, in low..high.

    Places that touch move together to the mean of what they want, as in isotonic regression.
    """
    offsets = step * np.arange(len(wanted))
    blocks: list[tuple[float, int]] = []
    for value in wanted - offsets:
        mean, count = float(value), 1
        while blocks and blocks[-1][0] > mean:
            before, members = blocks.pop()
            mean = (mean * count + before * members) / (count + members)
            count += members
        blocks.append((mean, count))
    levels = np.concatenate([np.full(count, mean) for mean, count in blocks])
    found: NDArray[np.float64] = np.clip(levels, low, max(low, high - offsets[-1])) + offsets
    return found


def _opacity(plane: Plane, fields: Sequence[str] = ()) -> alt.OpacityValue:
    """Names of what is zoomed away are not seen; those of what is not chosen fade.

    Not so those without any of these fields.
    """
    conditions: list[dict[str, Any]] = [{"param": SHOWN, "value": 1}]
    if fields:
        test = " && ".join(f"!isValid(datum.{field})" for field in fields)
        conditions.append({"test": test, "value": 1})
    if plane.inside:
        conditions.insert(0, {"test": f"!({plane.inside})", "value": 0})
    return alt.OpacityValue(FADED, condition=conditions)


def _boxes(plane: Plane, row: Datum) -> NDArray[np.float64]:
    """(n, 4) small boxes in pixels over a row's point and its intervals."""
    x, y, shift = row["x"], row["y"], row.get("shift", 0.0)
    ends = [((x, y), (x, y))]
    if "y_low" in row:
        ends.append(((x, row["y_low"]), (x, row["y_high"])))
    if "x_low" in row:
        ends.append(((row["x_low"], y), (row["x_high"], y)))
    moved = np.array([shift, 0, shift, 0])
    found = [_pieces(plane.place(*start), plane.place(*end)) + moved for start, end in ends]
    return np.concatenate(found)


def _pieces(start: tuple[float, float], end: tuple[float, float]) -> NDArray[np.float64]:
    way = np.subtract(end, start)
    steps = 1 + int(np.hypot(*way) / 5)
    at = np.array(start) + np.linspace(0, 1, steps + 1)[:, None] * way
    found: NDArray[np.float64] = np.hstack([at - 4, at + 4])
    return found


def _overlaps(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """(len(a), len(b)) area that boxes share."""
    sides = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    areas: NDArray[np.float64] = np.clip(sides, 0, None).prod(axis=-1)
    return areas
