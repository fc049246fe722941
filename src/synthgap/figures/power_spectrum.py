"""The radial power spectra of the sources, beside that of real images (paper A, section 4.4)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from synthgap.errors import UserError
from synthgap.figures import data
from synthgap.figures import matplotlib_style as style
from synthgap.figures.data import Source
from synthgap.metrics.table import Row
from synthgap.metrics.table import rows as table_rows

ByFrequency = dict[int, dict[str, Row]]

MEAN, SPREAD = "radial_power_db", "radial_power_db_sd"
# Up to so many generators are told apart by their lines; more, by their x.
LINES = ("-", (0, (4, 1.5)), (0, (1, 1.3)), (0, (5, 1.5, 1, 1.5)))


@style.styled
def draw(table: Any) -> Figure:
    """Power at each frequency (left), and its difference from that of real images (right).

    Left, the mean over images in decibels; the band around real images is one standard deviation
    over images to either side. Right, a source's mean less that of real images, with a 95 % band.
    The two means come from different images, so the distances to their limits add in quadrature
    (Newcombe, Statistics in Medicine 1998, method 10).

    Colour tells the prompts. Up to four generators have a line style each. More are told apart by
    their x, which a shade from light to dark tells, and each kind of prompt then has its own
    panel of differences.

    Args:
        table: the metrics table.

    Raises:
        UserError: the spectrum of real images or of a source is missing, has other frequencies
            than the rest, or is there twice.
    """
    sources, means, spreads = _chosen(table_rows(table))
    frequencies = sorted(means)
    of_real = [means[k][data.REAL] for k in frequencies]
    real = _values(of_real)
    spread = _values([spreads[k][data.REAL] for k in frequencies])
    kinds = data.prompt_kinds(sources)
    generators = [pair[0].generator for pair in data.pairs(sources)]
    few = len(generators) <= len(LINES)
    is_date = sources[0].x_name == "release date"
    scale = Normalize(min(s.x for s in sources), max(s.x for s in sources))

    columns = 2 if few else 1 + len(kinds)
    figure = style.new_figure(9.2 if few else 3.2 * columns, 4.6)
    grid = figure.add_gridspec(1 if few else 2, columns, height_ratios=[1] if few else [1, 0.04])
    left = figure.add_subplot(grid[0, 0])
    first = figure.add_subplot(grid[0, 1], sharex=left)
    others = [figure.add_subplot(grid[0, c], sharex=left, sharey=first) for c in range(2, columns)]
    differences = [first, *others]

    band: dict[str, Any] = {
        "color": style.REAL_COLOUR,
        "alpha": 0.14,
        "lw": 0,
        "label": "± 1 SD over images",
    }
    left.fill_between(frequencies, real - spread, real + spread, **band)
    real_line: dict[str, Any] = {"color": style.REAL_COLOUR, "lw": 2.2, "zorder": 4}
    left.plot(frequencies, real, label="real images", gid=data.REAL, **real_line)
    for axes in differences:
        axes.axhline(0, gid=data.REAL, **real_line)
    for source in sources:
        found = [means[k][source.name] for k in frequencies]
        axes = differences[0 if few else kinds.index(source.prompts)]
        line: dict[str, Any] = {"gid": source.name}
        if few:
            line["color"] = style.prompt_colour(source.prompts, kinds)
            line["ls"] = LINES[generators.index(source.generator)]
        else:
            line["color"] = style.shades(style.prompt_colour(source.prompts, kinds))(
                scale(source.x)
            )
            line["lw"] = 1
        left.plot(frequencies, _values(found), **line)
        axes.plot(frequencies, _values(found) - real, **line)
        limits = _difference_limits(of_real, found)
        veil = 0.15 if few else 0.06
        axes.fill_between(frequencies, *limits, color=line["color"], alpha=veil, lw=0)

    for axes in (left, *differences):
        _frequency_axis(axes, frequencies)
    left.set_ylabel("Power, dB")
    left.set_title("Contrast at each frequency")
    first.set_ylabel("Power less that of real images, dB")
    keys = left.get_legend_handles_labels()[0]
    titles = [data.prompt_title(kind) for kind in kinds]
    if few:
        first.set_title("Too much or too little")
        for kind, title in zip(kinds, titles, strict=True):
            keys.append(Line2D([], [], color=style.prompt_colour(kind, kinds), lw=4, label=title))
        for generator, ls in zip(generators, LINES, strict=False):
            keys.append(Line2D([], [], color=style.MUTED, ls=ls, label=generator))
    else:
        for column, (kind, title) in enumerate(zip(kinds, titles, strict=True), 1):
            differences[column - 1].set_title(title[:1].upper() + title[1:])
            bar_axes = figure.add_subplot(grid[1, column])
            shades = ScalarMappable(scale, style.shades(style.prompt_colour(kind, kinds)))
            bar = figure.colorbar(shades, cax=bar_axes, orientation="horizontal")
            bar.outline.set_visible(False)
            bar.set_label(data.x_title(sources))
            bar_axes.xaxis.set_major_locator(MaxNLocator(4, integer=is_date))
    for axes in others:
        axes.tick_params(labelleft=False)
    style.legend_below(figure, keys)
    return figure


def numbers(table: Any) -> list[Row]:
    """The rows that `draw` shows."""
    sources, means, spreads = _chosen(table_rows(table))
    names = [data.REAL, *(s.name for s in sources)]
    found = [of[name] for of in means.values() for name in names]
    return [*found, *(spreads[k][data.REAL] for k in means)]


def _chosen(rows: list[Row]) -> tuple[list[Source], ByFrequency, ByFrequency]:
    """The sources, their mean power, and its spread over images."""
    sources = data.sources(rows)
    names = [s.name for s in sources]
    means, spreads = _by_frequency(rows, MEAN), _by_frequency(rows, SPREAD)
    data.require("power spectrum", means[min(means)] if means else {}, [data.REAL, *names])
    for k in means:
        data.require(f"power at frequency {k}", means[k], [data.REAL, *names])
        data.require(f"spread of power at frequency {k}", spreads.get(k, {}), [data.REAL])
    data.require_sources(sources)
    return sources, means, spreads


def _frequency_axis(axes: Axes, frequencies: list[int]) -> None:
    axes.set_xscale("log")
    if len(frequencies) > 1:
        axes.set_xlim(frequencies[0], frequencies[-1])
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.minorticks_off()
    axes.set_xlabel("Frequency, cycles an image")


def _by_frequency(rows: list[Row], metric: str) -> ByFrequency:
    """The rows of a metric by frequency and source."""
    found: ByFrequency = {}
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
