"""The radial power spectra of the sources, beside that of real images (paper A, section 4.4)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt

from synthgap.errors import UserError
from synthgap.figures import data, labels, marks, planes, style
from synthgap.figures.data import Source
from synthgap.figures.lines import line_colour, line_series
from synthgap.figures.marks import Datum
from synthgap.metrics.table import Row
from synthgap.metrics.table import rows as table_rows

ByFrequency = dict[int, dict[str, Row]]

MEAN, SPREAD = "radial_power_db", "radial_power_db_sd"
# Up to so many generators are told apart by their lines; more, by the names and shades of these.
LINES = ((1, 0), (6, 3), (1.5, 2), (7, 2.5, 1.5, 2.5))
_REAL = "real images"
_BAND = "± 1 SD over images"
_DIGITS = 2  # of decibels, as drawn


def draw(table: Any) -> alt.LayerChart | alt.ConcatChart:
    """Power at each frequency (left), and its difference from that of real images (right).

    Left, the mean over images in decibels; the band around real images is one standard deviation
    over images to either side. Right, a source's mean less that of real images, with a 95 % band.
    The two means come from different images, so the distances to their limits add in quadrature
    (Newcombe, Statistics in Medicine 1998, method 10).

    Colour tells the prompts. Up to four generators have a line style each. More have their names
    at their lines, which are the darker, the higher a generator's x; each kind of prompt then has
    its own panel of differences.

    Args:
        table: the metrics table.

    Raises:
        UserError: the spectrum of real images or of a source is missing, has other frequencies
            than the rest, or is there twice.
    """
    sources, means, spreads = _chosen(table_rows(table))
    kinds = data.prompt_kinds(sources)
    generators = [pair[0].generator for pair in data.pairs(sources)]
    few = len(generators) <= len(LINES)
    every = [_line(means, source, sources, kinds, few=few) for source in sources]
    real = _values(means, data.REAL) | {"colour": style.REAL_COLOUR}
    real |= dict.fromkeys(("source", "label", "series"), _REAL)
    spread = _spread(means, spreads)

    dashes: dict[str, Any] = {}
    if few:
        prompts = style.prompt_series(kinds)
        series = style.Series((*prompts.names, _REAL), (*prompts.colours, style.REAL_COLOUR))
        colour = series.colour()
        dashes["strokeDash"] = _dashes(generators)
    else:
        series = line_series(sources, _REAL)
        colour = alt.Color("colour", type="nominal", scale=None)

    def drawn(plane: planes.Plane, field: str, kind: str = "") -> list[alt.Chart]:
        """The lines of sources, of one kind of prompt or of all, over that of real images."""
        thin = 1.8 if few else 1.2
        of_sources = _lines(every, plane, field, thin, color=colour, **dashes)
        return [
            _lines([real], plane, field, 2.6, color=colour),
            _of_kind(of_sources, kind) if kind else of_sources,
        ]

    power = planes.Plane(
        _frequency_axis(sorted(means)),
        planes.Axis(
            "Power, dB",
            planes.reach([*_all([real, *every], "power"), *_all([spread], "low", "high")], 0.03),
        ),
        width=340 if few else 250,
    )
    less = planes.Plane(
        power.x,
        planes.Axis(
            "Power less that of real images, dB",
            planes.reach(_all([real, *every], "less", "low", "high"), 0.05),
        ),
        width=power.width,
        zoom=f"{planes.ZOOM}_1",
    )
    layers = [
        _bands([spread], power, opacity=alt.value(0.14), fill=_key_of_band()),
        *([] if few else labels.label_ends(_ends([real], "power"), power)),
        *drawn(power, "power"),
    ]
    panels = [style.Panel(power, layers, "Contrast at each frequency")]
    has_limits = any(low is not None for low in _all(every, "low"))
    fill = alt.Fill("colour", type="nominal", scale=None)
    bands = _bands(every, less, opacity=style.faded(0.15 if few else 0.06), fill=fill)
    if few:
        layers = [*([bands] if has_limits else []), *drawn(less, "less")]
        panels.append(style.Panel(less, layers, "Too much or too little"))
    for kind in [] if few else kinds:
        named = [row for row in every if row["prompts"] == kind]
        layers = [
            *([_of_kind(bands, kind)] if has_limits else []),
            *labels.label_ends(_ends([*named, real], "less"), less),
            *drawn(less, "less", kind),
        ]
        title = data.prompt_title(kind)
        panels.append(style.Panel(less, layers, title[:1].upper() + title[1:]))
    return style.finish(
        panels,
        "Mean power of each source's images and of real ones at each spatial frequency, with one "
        "standard deviation over real images, and the differences from real images with 95 % "
        "intervals.",
        series=series,
        columns=len(panels),
    )


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


def _frequency_axis(frequencies: list[int]) -> planes.Axis:
    low, high = frequencies[0], frequencies[-1]
    ticks = (times * 10**power for power in range(len(str(high))) for times in (1, 2, 5))
    return planes.Axis(
        "Frequency, cycles an image",
        (low, high) if low < high else planes.reach(frequencies, log=True),
        log=True,
        ticks=tuple(tick for tick in ticks if low <= tick <= high),
    )


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


def _line(
    means: ByFrequency, source: Source, sources: list[Source], kinds: list[str], *, few: bool
) -> Datum:
    kind = source.prompts
    shade = style.prompt_colour(kind, kinds) if few else line_colour(source, sources, kinds)
    return _values(means, source.name) | {
        "source": source.name,
        "label": source.generator,
        "prompts": kind,
        "series": data.prompt_title(kind) if few else source.generator,
        "colour": shade,
    }


def _values(means: ByFrequency, name: str) -> Datum:
    """All numbers of a line in one row: `at` each frequency its power, and how much it is `less`.

    So the specification has each name once. Limits are those of the difference; None where there
    are none.
    """
    found: Datum = {"at": sorted(means), "power": [], "less": [], "low": [], "high": []}
    for k in sorted(means):
        real, of = means[k][data.REAL], means[k][name]
        found["power"].append(_rounded(of.value))
        less, low, high = (of.value - real.value, None, None) if of is real else _less(of, real)
        for field, value in (("less", less), ("low", low), ("high", high)):
            found[field].append(_rounded(value))
    return found


def _less(of: Row, real: Row) -> tuple[float, float | None, float | None]:
    """The difference of two powers with its limits; None where one of them has none."""
    value = of.value - real.value
    if of.ci_low is None or of.ci_high is None or real.ci_low is None or real.ci_high is None:
        return value, None, None
    below = math.hypot(of.value - of.ci_low, real.ci_high - real.value)
    above = math.hypot(of.ci_high - of.value, real.value - real.ci_low)
    return value, value - below, value + above


def _spread(means: ByFrequency, spreads: ByFrequency) -> Datum:
    """The row of the band around real images."""
    at = sorted(means)
    power = [(means[k][data.REAL].value, spreads[k][data.REAL].value) for k in at]
    low, high = ([_rounded(mean + sign * sd) for mean, sd in power] for sign in (-1, 1))
    return {"at": at, "low": low, "high": high, "source": _REAL, "band": _BAND}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS) + 0.0


def _all(rows: Iterable[Datum], *fields: str) -> list[float | None]:
    return [value for row in rows for field in fields for value in row[field]]


def _ends(rows: Iterable[Datum], field: str) -> list[Datum]:
    """Where the lines end, for `labels.label_ends`."""
    named = ("source", "label", "series", "colour")
    return [
        {"x": row["at"][-1], "y": row[field][-1], **{name: row[name] for name in named}}
        for row in rows
    ]


def _lines(
    rows: Sequence[Datum], plane: planes.Plane, field: str, width: float, **channels: Any
) -> alt.Chart:
    told = marks.tips(source="Source")
    chart = marks.lines(
        rows, plane, "source", look={"strokeWidth": width}, tooltip=told, **channels
    )
    return chart.transform_flatten(["at", field], as_=["x", "y"])


def _bands(rows: Sequence[Datum], plane: planes.Plane, **channels: Any) -> alt.Chart:
    chart = marks.chart_of(rows).transform_flatten(
        ["at", "low", "high"], as_=["x", "y_low", "y_high"]
    )
    found: alt.Chart = (
        chart.transform_filter("isValid(datum.y_low)")
        .mark_area(aria=False)
        .encode(
            x=plane.across(),
            y=plane.up("y_low"),
            y2=alt.Y2("y_high"),
            detail=alt.Detail("source", type="nominal"),
            **channels,
        )
    )
    return found


def _of_kind(chart: alt.Chart, kind: str) -> alt.Chart:
    """A chart with the rows of one kind of prompt alone."""
    return chart.transform_filter(alt.FieldEqualPredicate(equal=kind, field="prompts"))


def _dashes(generators: list[str]) -> alt.StrokeDash:
    return alt.StrokeDash(
        "label",
        type="nominal",
        title=None,
        scale=alt.Scale(domain=generators, range=[list(one) for one in LINES[: len(generators)]]),
        legend=alt.Legend(orient="top", symbolStrokeColor=style.MUTED, symbolSize=400),
    )


def _key_of_band() -> alt.Fill:
    return alt.Fill(
        "band",
        type="nominal",
        title=None,
        scale=alt.Scale(domain=[_BAND], range=[style.REAL_COLOUR]),
        legend=alt.Legend(symbolType="square", symbolOpacity=0.2, symbolSize=100),
    )
