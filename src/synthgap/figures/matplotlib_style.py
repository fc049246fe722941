"""The look of all figures, and their deterministic SVG.

Colours are those of Okabe and Ito, which stay apart under the common colour-vision deficiencies;
nothing is told by colour alone. Text is drawn as outlines, so that a page looks the same on a
machine without the font and a rerun gives the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any, ParamSpec

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.transforms import Bbox, ScaledTranslation
from numpy.typing import NDArray

from synthgap.metrics.intervals import Interval
from synthgap.metrics.table import Row

INK = "#1f2933"
MUTED = "#6b7785"
GRID = "#e4e8ec"
REAL_COLOUR = "#3d4752"
SPARE_COLOURS = ("#56B4E9", "#E69F00", "#CC79A7", "#000000")
PROMPT_COLOURS = {"classname": "#0072B2", "caption": "#D55E00"}
PROMPT_MARKERS = {"classname": "o", "caption": "s"}
SPARE_MARKERS = ("^", "D", "v", "P")
PROBE_COLOURS = {
    "structure": "#009E73",
    "texture": "#CC79A7",
    "low": "#56B4E9",
    "band": "#4d4d4d",
    "high": "#E69F00",
}
RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.labelsize": 9,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "lines.markersize": 6,
    "errorbar.capsize": 0,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "synthgap",
}

P = ParamSpec("P")
Segment = tuple[float, float, float, float]
"""x0, y0, x1, y1"""


def context() -> AbstractContextManager[None]:
    """The style, for the time of a `with` block."""
    return matplotlib.rc_context(RC)  # type: ignore[arg-type]


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw in this style, leaving the caller's settings alone."""

    @wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with context():
            return draw(*args, **kwargs)

    return wrapper


def new_figure(width: float = 6.4, height: float = 4.4) -> Figure:
    """An empty figure, size in inches, that keeps its labels inside."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)  # type: ignore[union-attr, call-arg]
    FigureCanvasAgg(figure)  # measures texts
    return figure


def svg(figure: Figure) -> str:
    """The figure as SVG text without date; the same figure gives the same bytes."""
    with context():
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def percent_axis(axis: Any) -> None:
    """Write the fractions 0..1 of an axis as percentages."""
    axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.10g} %"))


def error(row: Row) -> list[list[float]]:
    """One point's error bar as matplotlib wants it: [[below], [above]], 0 where there is none."""
    low = row.value if row.ci_low is None else row.ci_low
    high = row.value if row.ci_high is None else row.ci_high
    return [[max(0.0, row.value - low)], [max(0.0, high - row.value)]]


def bars(x: Row | float, y: Row) -> list[Segment]:
    """The error bars of one point as segments in data coordinates, for `label_points`."""
    at = x.value if isinstance(x, Row) else x
    (below,), (above,) = error(y)
    segments = [(at, y.value - below, at, y.value + above)]
    if isinstance(x, Row):
        (below,), (above,) = error(x)
        segments.append((at - below, y.value, at + above, y.value))
    return segments


def prompt_colour(prompts: str, kinds: Sequence[str]) -> str:
    """Colour of a kind of prompt; unknown kinds take spare ones in order."""
    return _pick(prompts, kinds, PROMPT_COLOURS, SPARE_COLOURS)


def prompt_marker(prompts: str, kinds: Sequence[str]) -> str:
    """Marker of a kind of prompt; unknown kinds take spare ones in order."""
    return _pick(prompts, kinds, PROMPT_MARKERS, SPARE_MARKERS)


def dodge(axes: Axes, index: int, count: int, points: float = 5) -> Any:
    """A transform that moves series apart sideways on paper, so error bars do not hide each other.

    The data stay untouched. What is moved does not widen the axes by itself: see `reach`.
    """
    shift = (index - (count - 1) / 2) * points / 72
    figure = axes.get_figure(root=True)
    assert figure is not None
    return axes.transData + ScaledTranslation(shift, 0, figure.dpi_scale_trans)


def reach(axes: Axes, x: Iterable[float], intervals: Iterable[Interval]) -> None:
    """Widen the axes until they hold points with their intervals, moved by `dodge` or not."""
    for at, interval in zip(x, intervals, strict=True):
        ends = [end for end in interval if not np.isnan(end)]
        axes.update_datalim([(at, end) for end in ends])
    axes.autoscale_view()


def diagonal(axes: Axes) -> None:
    """Equal limits on both axes and the line where both are the same."""
    low = min(axes.get_xlim()[0], axes.get_ylim()[0])
    high = max(axes.get_xlim()[1], axes.get_ylim()[1])
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    axes.axline((low, low), slope=1, color=MUTED, lw=1, ls=(0, (4, 3)), zorder=1, gid="diagonal")


def pair_line(axes: Axes, x: Sequence[float], y: Sequence[float]) -> None:
    """A thin line between points that belong together."""
    axes.plot(x, y, color=MUTED, lw=0.7, alpha=0.6, zorder=1)


def marker_key(label: str, marker: str, colour: str, *, hollow: bool = False) -> Line2D:
    """A legend entry for a marker alone."""
    face = "white" if hollow else colour
    return Line2D([], [], ls="", marker=marker, mfc=face, mec=colour, label=label)


def legend_below(figure: Figure, handles: Sequence[Artist]) -> None:
    """A legend outside, under the axes, where it hides no data."""
    figure.legend(handles=handles, loc="outside lower center", ncols=4, handletextpad=0.5)


def shades(colour: str) -> LinearSegmentedColormap:
    """From a light tint of a colour to a dark shade."""
    rgb = np.array(to_rgb(colour))
    return LinearSegmentedColormap.from_list(colour, [0.35 * rgb + 0.65, rgb, 0.4 * rgb])


def label_ends(axes: Axes, ends: Sequence[tuple[float, float, str, Any]]) -> None:
    """Write the name of each line right of the axes, at the height of its end.

    Names that would overlap are moved apart, in the order of their heights, as little as is needed;
    thin leaders join them to their lines. Call it last: it needs the final layout.

    Args:
        ends: (x, y, label, colour), x and y in data coordinates.
    """
    if not ends:
        return
    figure = axes.get_figure(root=True)
    assert figure is not None
    ends = sorted(ends, key=lambda end: (end[1], end[2]))
    # Their room at the side is part of the layout, whatever their heights.
    texts = [
        axes.annotate(
            label,
            (x, y),
            xytext=(1.05, 0.5),
            textcoords="axes fraction",
            va="center",
            fontsize=7.5,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "lw": 0.6,
                "shrinkA": 1,
                "shrinkB": 3,
                "relpos": (0, 0.5),
            },
            annotation_clip=False,
        )
        for x, y, label, colour in ends
    ]
    figure.draw_without_rendering()
    heights = axes.transData.transform([(x, y) for x, y, _, _ in ends])[:, 1]
    (_, bottom), (_, top) = axes.transAxes.transform([(0, 0), (1, 1)])
    step = 9.5 * figure.dpi / 72
    for text, place in zip(texts, _apart(heights, step, bottom, top), strict=True):
        text.set_position((1.05, (place - bottom) / (top - bottom)))


def _apart(
    wanted: NDArray[np.float64], step: float, low: float, high: float
) -> NDArray[np.float64]:
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
    places: NDArray[np.float64] = np.clip(levels, low, max(low, high - offsets[-1])) + offsets
    return places


def label_points(
    axes: Axes, points: Sequence[tuple[float, float, str]], taken: Iterable[Segment] = ()
) -> None:
    """Write each label beside its point where it hides neither marks nor other labels.

    Greedy: each label takes the nearest free one of sixty places around its point, or the least
    covered; a thin leader joins a label that had to go far. Call it last: it needs the final
    layout.

    Args:
        points: (x, y, label) in data coordinates.
        taken: bars and lines to keep clear of, in data coordinates.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    to_points = 72 / figure.dpi
    frame = _corners(axes.get_window_extent(renderer), to_points) + np.array([3, 3, -3, -3])
    busy = [np.zeros((0, 4))]
    for x0, y0, x1, y1 in taken:
        start, end = axes.transData.transform([(x0, y0), (x1, y1)]) * to_points
        pieces = 1 + int(np.hypot(*(end - start)) / 4)
        at = start + np.linspace(0, 1, pieces + 1)[:, None] * (end - start)
        busy.append(np.hstack([at - 3, at + 3]))

    for x, y, label in points:
        text = axes.annotate(
            label,
            (x, y),
            xytext=(0, 0),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=7.5,
            path_effects=[withStroke(linewidth=2, foreground="white")],
            arrowprops={"arrowstyle": "-", "color": MUTED, "lw": 0.5, "shrinkA": 0, "shrinkB": 3},
            zorder=5,
        )
        text.set_in_layout(False)
        x0, y0, x1, y1 = _corners(text.get_window_extent(renderer), to_points)[0]
        half = np.array([x1 - x0, y1 - y0]) / 2
        centre = axes.transData.transform((x, y)) * to_points
        offsets = np.concatenate([_DIRECTIONS * (away + half) for away in _DISTANCES])
        boxes = np.hstack([centre + offsets - half, centre + offsets + half])
        covered = _overlaps(boxes, np.concatenate(busy)).sum(axis=1)
        outside = 4 * half.prod() - _overlaps(boxes, frame)[:, 0]
        best = int(np.argmin(np.repeat(_DISTANCES, len(_DIRECTIONS)) + 2 * (covered + outside)))
        busy.append(boxes[best : best + 1])
        text.set_position(tuple(offsets[best]))
        assert text.arrow_patch is not None
        text.arrow_patch.set_visible(best >= 2 * len(_DIRECTIONS))


_DISTANCES = np.array([7, 12, 20, 30, 42])
# Right, above, below, left, then the oblique ones.
_DIRECTIONS = np.array(
    [
        *((1, 0), (0, 1), (0, -1), (-1, 0)),
        *((0.8, 0.8), (0.8, -0.8), (-0.8, 0.8), (-0.8, -0.8)),
        *((0.5, 1), (0.5, -1), (-0.5, 1), (-0.5, -1)),
    ]
)


def _corners(box: Bbox, to_points: float) -> NDArray[np.float64]:
    """(1, 4): x0, y0, x1, y1 in points."""
    return np.asarray(box.extents)[None] * to_points


def _overlaps(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """(len(a), len(b)) area that boxes share."""
    sides = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    areas: NDArray[np.float64] = np.clip(sides, 0, None).prod(axis=-1)
    return areas


def _pick(name: str, kinds: Sequence[str], known: dict[str, str], spare: Sequence[str]) -> str:
    if name in known:
        return known[name]
    unknown = [kind for kind in kinds if kind not in known]
    return spare[unknown.index(name) % len(spare)]
