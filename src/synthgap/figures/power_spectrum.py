"""The radial power spectra of the sources, beside that of real images (paper A, section 4.4)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from synthgap.errors import UserError
from synthgap.figures import data, style
from synthgap.figures.data import Source
from synthgap.metrics.table import Row
from synthgap.metrics.table import rows as table_rows

MEAN, SPREAD = "radial_power_db", "radial_power_db_sd"
# Up to so many generators are told apart by their lines; more, by where they stand on x.
LINES = ("-", (0, (4, 1.5)), (0, (1, 1.3)), (0, (5, 1.5, 1, 1.5)))


@style.styled
def draw(table: Any) -> Figure:
    """Power at each frequency (left), and its difference from that of real images (right).

    Left, the mean over images in decibels; the band around real images is one standard deviation
    over images to either side. Right, a source's mean less that of real images, with a 95 % band.
    The two means come from different images, so the distances to their limits add in quadrature
    (Newcombe, Statistics in Medicine 1998, method 10).

    Colour tells the prompts. Up to four generators have a line style each; of more, the shade
    tells the generator's x.

    Args:
        table: the metrics table.

    Raises:
        UserError: the spectrum of real images or of a source is missing, has other frequencies
            than the rest, or is there twice.
    """
    rows = table_rows(table)
    sources = data.sources(rows)
    names = [s.name for s in sources]
    means, spreads = _by_frequency(rows, MEAN), _by_frequency(rows, SPREAD)
    data.require("power spectrum", means[min(means)] if means else {}, [data.REAL, *names])
    for k in means:
        data.require(f"power at frequency {k}", means[k], [data.REAL, *names])
        data.require(f"spread of power at frequency {k}", spreads.get(k, {}), [data.REAL])
    data.require_sources(sources)
    frequencies = sorted(means)
    of_real = [means[k][data.REAL] for k in frequencies]
    real = _values(of_real)
    spread = _values([spreads[k][data.REAL] for k in frequencies])
    look = _Look(sources)

    figure = style.new_figure(9.2, 4.6)
    left, right = figure.subplots(1, 2)
    band = {"color": style.REAL_COLOUR, "alpha": 0.14, "lw": 0, "label": "± 1 SD over images"}
    left.fill_between(frequencies, real - spread, real + spread, **band)
    real_line = {"color": style.REAL_COLOUR, "lw": 2.2, "zorder": 4, "gid": data.REAL}
    left.plot(frequencies, real, label="real images", **real_line)
    right.axhline(0, **real_line)
    for source in sources:
        found = [means[k][source.name] for k in frequencies]
        left.plot(frequencies, _values(found), **look.line(source), gid=source.name)
        right.plot(frequencies, _values(found) - real, **look.line(source), gid=source.name)
        limits = _difference_limits(of_real, found)
        right.fill_between(frequencies, *limits, color=look.colour(source), alpha=0.15, lw=0)
    for axes in (left, right):
        _frequency_axis(axes, frequencies[-1])
    left.set_ylabel("Power, dB")
    left.set_title("Contrast at each frequency")
    right.set_ylabel("Power less that of real images, dB")
    right.set_title("Too much or too little")
    if look.bars:
        for kind in look.kinds:
            _bar(figure, [left, right], kind, look)
    style.legend_below(figure, [*left.get_legend_handles_labels()[0], *look.keys()])
    return figure


class _Look:
    """Colour and line of each source.

    Colour tells the prompts, and line the generator. Where there are more generators than lines,
    shade tells the generator's x, from light to dark, and line the prompts.
    """

    def __init__(self, sources: list[Source]) -> None:
        self.kinds = data.prompt_kinds(sources)
        self.generators = [pair[0].generator for pair in data.pairs(sources)]
        self.scale = Normalize(min(s.x for s in sources), max(s.x for s in sources))
        self.x_title = data.x_title(sources)
        self.bars = len(self.generators) > len(LINES)

    def shades(self, kind: str) -> LinearSegmentedColormap:
        """From a light tint of a kind of prompt's colour to a dark shade."""
        colour = np.array(to_rgb(style.prompt_colour(kind, self.kinds)))
        return LinearSegmentedColormap.from_list(kind, [0.35 * colour + 0.65, colour, 0.4 * colour])

    def colour(self, source: Source) -> Any:
        if self.bars:
            return self.shades(source.prompts)(self.scale(source.x))
        return style.prompt_colour(source.prompts, self.kinds)

    def line(self, source: Source) -> dict[str, Any]:
        if self.bars:
            ls = LINES[self.kinds.index(source.prompts) % len(LINES)]
        else:
            ls = LINES[self.generators.index(source.generator)]
        return {"color": self.colour(source), "ls": ls, "lw": 1.1 if self.bars else 1.6}

    def keys(self) -> list[Line2D]:
        """Legend entries: one for each kind of prompt, and one for each line style left."""
        colours = [style.prompt_colour(kind, self.kinds) for kind in self.kinds]
        titles = [data.prompt_title(kind) for kind in self.kinds]
        if self.bars:
            return [
                Line2D([], [], color=colour, ls=LINES[i % len(LINES)], label=title)
                for i, (colour, title) in enumerate(zip(colours, titles, strict=True))
            ]
        kinds = [
            Line2D([], [], color=colour, lw=4, label=title)
            for colour, title in zip(colours, titles, strict=True)
        ]
        return kinds + [
            Line2D([], [], color=style.MUTED, ls=ls, label=generator)
            for generator, ls in zip(self.generators, LINES, strict=False)
        ]


def _bar(figure: Figure, panels: list[Axes], kind: str, look: _Look) -> None:
    """The shades of a kind of prompt, beside the panels; ticks stand at the last."""
    bar = figure.colorbar(
        ScalarMappable(look.scale, look.shades(kind)), ax=panels, aspect=30, pad=0.015
    )
    bar.outline.set_visible(False)
    if kind != look.kinds[-1]:
        bar.set_ticks([])
        return
    bar.set_label(look.x_title)
    bar.ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))


def _frequency_axis(axes: Axes, last: int) -> None:
    axes.set_xscale("log")
    axes.set_xlim(1, last)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.minorticks_off()
    axes.set_xlabel("Frequency, cycles an image")


def _by_frequency(rows: list[Row], metric: str) -> dict[int, dict[str, Row]]:
    """The rows of a metric by frequency and source."""
    found: dict[int, dict[str, Row]] = {}
    for row in rows:
        if (row.study, row.metric, row.seed) != ("transfer", metric, None):
            continue
        name, frequency = str(row.test_source), int(row.settings["frequency"])
        if found.setdefault(frequency, {}).setdefault(name, row) is not row:
            raise UserError(f"metrics: two rows for {metric} of {name} at frequency {frequency}")
    return found


def _values(rows: list[Row]) -> Any:
    return np.array([row.value for row in rows])


def _difference_limits(real: list[Row], other: list[Row]) -> tuple[list[float], list[float]]:
    """Limits of other - real at each frequency; NaN where one of them has none."""
    lows, highs = [], []
    for a, b in zip(real, other, strict=True):
        (a_below,), (a_above,) = style.error(a)
        (b_below,), (b_above,) = style.error(b)
        known = None not in (a.ci_low, a.ci_high, b.ci_low, b.ci_high)
        lows.append(b.value - a.value - math.hypot(b_below, a_above) if known else math.nan)
        highs.append(b.value - a.value + math.hypot(b_above, a_below) if known else math.nan)
    return lows, highs
