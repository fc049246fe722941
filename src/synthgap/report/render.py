"""The page: metrics table, figures and contact sheets in, one self-contained HTML text out."""

from __future__ import annotations

import base64
import datetime
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2

from synthgap.errors import UserError
from synthgap.figures import data
from synthgap.figures.data import BySource, Source
from synthgap.metrics.table import Row
from synthgap.metrics.table import rows as table_rows
from synthgap.report.answer import answer
from synthgap.report.captions import captions
from synthgap.report.measures import groups

# Figure name (its module's) -> title, caption. The order is that of the page.
CAPTIONS = {
    "transfer_by_generator": (
        "Trained on generated images, tested on real ones",
        "Each point is a classifier that saw only images of one generator, tested on real images. "
        "Look at the slope of each line, and at the distance to the dashed line, which real "
        "training images reach.",
    ),
    "transfer_asymmetry": (
        "Easy to recognise, hard to learn from?",
        "Across: how well a classifier trained on real images recognises the generated ones. Up: "
        "how well one trained on the generated images recognises real ones. Points under the "
        "diagonal are easier to recognise than to learn from. A thin line joins one generator's "
        "kinds of prompt; the label stands at the first kind.",
    ),
    "density_coverage": (
        "What the generators cover of the real distribution",
        "To the right, generated images crowd where real ones are dense; further up, more of the "
        "real images have a generated neighbour. High density with low coverage is a collapsed "
        "distribution; both low, a shifted one. The star is the real test split: what perfect "
        "images would reach.",
    ),
    "distinguish": (
        "Can a classifier tell them apart?",
        "Accuracy of classifiers trained to tell a source from real images. At 50 % they guess. "
        "The control, real against real, must lie there; otherwise the test itself leaks.",
    ),
    "transfer_by_probe": (
        "Which part of the image is off?",
        "Each classifier sees only one part of the image, in training and in testing. The further "
        "under the diagonal, the less that part carries over to real images. Compare with the "
        "stars: even real images lose something when seen in part.",
    ),
    "power_spectrum": (
        "How much contrast at each frequency",
        "Left, the mean power over images at each frequency, from whole shapes to single pixels: "
        "of brightness, under a Hann window, averaged over directions; the grey band is one "
        "standard deviation over real images. Right, how far each source is from real images: "
        "below zero it is too smooth there, above too rough. The bands are 95 % intervals of that "
        "difference. Rounding to 8 bits has a power of −59 dB; nothing can be told below.",
    ),
}

DEFINITIONS = {
    "Synth→Real": (
        "Top-1 accuracy on the real test images of a classifier trained only on the source's "
        "images. Real→Real is the same with real training images."
    ),
    "Real→Synth": (
        "Top-1 accuracy on the source's test images of the classifier trained on real images. The "
        "label of a generated image is the class its prompt asked for."
    ),
    "Density": (
        "Balls around real training images reach to their k-th nearest real neighbour in the "
        "encoder's features. Density is the mean number of balls a generated image lies in, "
        "divided by k. It can exceed 1 (Naeem et al. 2020)."
    ),
    "Coverage": "Share of real training images with a generated image in their ball.",
    "Precision": "Share of generated images in at least one ball of a real image.",
    "Recall": "Share of real training images in at least one ball of a generated image.",
    "Told apart": (
        "Accuracy of a classifier that decides whether an image is real or from the source, with "
        "equally many of both. Chance is 50 %."
    ),
}

# Told elsewhere on the page.
_PER_SOURCE = {"generator", "prompts", "x", "x_name", "probe", "seeds"}


@dataclass(frozen=True)
class Column:
    """A column of a table of the page."""

    title: str
    note: str
    rows: BySource
    percent: bool = True
    digits: int = 2


def render(
    table: Any,
    figures: Mapping[str, str],
    sheets: Sequence[Mapping[str, Any]],
    context: Mapping[str, Any],
    caption_sample: Sequence[Mapping[str, Any]] = (),
) -> str:
    """One HTML page that needs nothing else: no network, no scripts, no further files.

    Args:
        table: the metrics table (`synthgap.metrics.table`).
        figures: SVG text by name; the names in `CAPTIONS` get their caption and order.
        sheets: contact sheets, each with `title`, `caption` and `png_bytes`.
        context: `config_yaml` (str), `versions` (name -> version) and `commands` (list of str);
            optional `title`, `question`, `caption_prompt` (the text that a captioner was asked
            with), and `architecture` or `distribution` where the table holds several (see
            `synthgap.figures.data`).
        caption_sample: images with captions, see `synthgap.report.captions`; shown where the
            table has numbers of captions.

    Raises:
        UserError: the table has no synthetic source or no Synth->Real accuracy, is ambiguous, or
            the context lacks a key.
    """
    lacking = [key for key in ("config_yaml", "versions", "commands") if key not in context]
    if lacking:
        raise UserError(f"report: the context lacks {', '.join(lacking)}")
    rows = table_rows(table)
    sources = data.sources(rows)
    data.require_sources(sources)
    architecture = context.get("architecture")
    accuracy = data.synth_to_real(rows, architecture=architecture)
    data.require("top-1 accuracy on real images", accuracy, [])
    main = _main_columns(rows, accuracy, context)

    page = _environment().get_template("template.html.j2")
    return page.render(
        title=context.get("title", "From synthetic to real"),
        question=context.get("question"),
        answer=answer(sources, accuracy, context.get("question")),
        real=accuracy.get(data.REAL),
        sources=sources,
        real_name=data.REAL,
        main=main,
        probes=_probe_columns(rows, architecture),
        groups=groups(rows),
        figures=_figures(figures),
        sheets=[{**sheet, "uri": _data_uri("image/png", sheet["png_bytes"])} for sheet in sheets],
        captions=captions(rows, caption_sample, context.get("caption_prompt", "")),
        made=[(c, DEFINITIONS[c.title], _facts(rows, c.rows)) for c in main],
        levels=sorted({f"{100 * row.ci_level:g} %" for row in rows if row.ci_low is not None}),
        context=context,
    )


def _main_columns(rows: list[Row], accuracy: BySource, context: Mapping[str, Any]) -> list[Column]:
    """The main table's columns; those without any row are left out."""
    columns = [
        Column("Synth→Real", "trained on it, tested on real", accuracy),
        Column(
            "Real→Synth",
            "trained on real, tested on it",
            data.real_to_synth(rows, architecture=context.get("architecture")),
        ),
    ]
    for name in data.DISTRIBUTION:
        found = data.distribution(rows, name, name=context.get("distribution"))
        columns.append(
            Column(name.capitalize(), _variant_note(found), found, percent=name != "density")
        )
    columns.append(
        Column(
            "Told apart",
            "real or generated? 50\N{NO-BREAK SPACE}% is chance",
            data.distinguish(rows),
        )
    )
    return [column for column in columns if column.rows]


def _probe_columns(rows: list[Row], architecture: str | None) -> list[Column]:
    columns = []
    for probe in data.probes(rows):
        found = data.synth_to_real(rows, probe=probe, architecture=architecture)
        seen = {f"{_view(row)}, {row.architecture}" for row in found.values()}
        columns.append(
            Column(_sentence(data.PROBES.get(probe, probe)), "; ".join(sorted(seen)), found)
        )
    return columns if len(columns) > 1 else []


def _view(row: Row) -> str:
    """A row's view with the options that made it: "depth (estimator distance-transform)"."""
    options = row.settings.get("view_options", {})
    told = [f"{name} {value}" for name, value in sorted(options.items()) if name != "kind"]
    return f"{row.view} ({', '.join(told)})" if told else f"{row.view}"


def _variant_note(found: BySource) -> str:
    """`density_k5_euclidean` -> "k = 5, Euclidean"."""
    if not found:
        return ""
    _, k, distance = next(iter(found.values())).metric.split("_", 2)
    return f"k = {k[1:]}, {distance.replace('euclid', 'Euclid')}"


def _figures(figures: Mapping[str, str]) -> list[dict[str, str]]:
    order = list(CAPTIONS)
    names = sorted(figures, key=lambda n: (order.index(n) if n in order else len(order), n))
    found = []
    for name in names:
        title, caption = CAPTIONS.get(name, (_sentence(name.replace("_", " ")), ""))
        uri = _data_uri("image/svg+xml", figures[name].encode())
        found.append({"name": name, "title": title, "caption": caption, "uri": uri})
    return found


def _facts(rows: list[Row], shown: BySource) -> list[tuple[str, str]]:
    """How the numbers of a column were made, as far as they have it in common."""
    numbers = list(shown.values())
    metrics = {row.metric for row in numbers}
    studies = {row.study for row in numbers}
    seeds = {r.seed for r in rows if r.metric in metrics and r.study in studies} - {None}
    facts = [
        ("Metric", _join(metrics)),
        ("Items averaged over", _range([row.n for row in numbers])),
        ("Confidence level", _join({f"{100 * r.ci_level:g} %" for r in numbers})),
        ("Encoder", _join({row.encoder for row in numbers})),
        ("Classifier", _join({row.architecture for row in numbers})),
        ("View", _join({row.view for row in numbers})),
        ("Training seeds", _join({str(seed) for seed in seeds})),
    ]
    keys = sorted({key for row in numbers for key in row.settings} - _PER_SOURCE)
    for key in keys:
        values = {
            json.dumps(row.settings[key], ensure_ascii=False).strip('"')
            for row in numbers
            if key in row.settings
        }
        text = _join(values) if len(values) <= 4 else "differs by source"
        facts.append((key.replace("_", " ").capitalize(), text))
    return [(name, text) for name, text in facts if text]


def _join(values: set[Any]) -> str:
    return ", ".join(sorted(str(value) for value in values if value is not None))


def _range(values: list[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _number(row: Row, percent: bool = True, digits: int = 2) -> str:
    if percent:
        return f"{100 * row.value:.1f}\N{NO-BREAK SPACE}%"
    return _minus(f"{row.value:,.{digits}f}")


def _limits(row: Row, percent: bool = True, digits: int = 2) -> str:
    if row.ci_low is None or row.ci_high is None:
        return ""
    if percent:
        return f"{100 * row.ci_low:.1f} – {100 * row.ci_high:.1f}"
    low, high = (_minus(f"{limit:,.{digits}f}") for limit in (row.ci_low, row.ci_high))
    # A dash would read as one sign more.
    return f"{low} to {high}" if row.ci_low < 0 else f"{low} – {high}"


def _minus(number: str) -> str:
    return number.replace("-", "−")


def _points(fraction: float) -> str:
    """A difference of accuracies in percentage points, with its sign."""
    return "unknown" if math.isnan(fraction) else f"{100 * fraction:+.1f}".replace("-", "−")


def _x(source: Source) -> str:
    """The source's x in words; a release date is a year with a decimal fraction."""
    if source.x_name != "release date":
        return f"{source.x_name} {source.x:g}"
    day = datetime.date(int(source.x), 1, 1) + datetime.timedelta(days=int(source.x % 1 * 366))
    return f"released {day.isoformat()}"


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("synthgap.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "limits": _limits, "points": _points, "x": _x}
    environment.filters["prompts"] = data.prompt_title
    return environment
