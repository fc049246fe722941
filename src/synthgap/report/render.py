"""The page: metrics table, figures and contact sheets in, one self-contained HTML text out."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2

from synthgap.errors import UserError
from synthgap.figures import data
from synthgap.figures.data import BySource
from synthgap.figures.mixing import MODES
from synthgap.live import duration
from synthgap.metrics.table import Row
from synthgap.metrics.table import rows as table_rows
from synthgap.report import formats, scripts
from synthgap.report.answer import answer
from synthgap.report.captions import captions
from synthgap.report.casd import casd
from synthgap.report.claims import Claim
from synthgap.report.classes import lost_classes
from synthgap.report.distinguish import distinguished
from synthgap.report.examples import Examples
from synthgap.report.figures import DARK, data_uri
from synthgap.report.figures import figures as shown_figures
from synthgap.report.formats import sentence
from synthgap.report.gallery import embedded, gallery
from synthgap.report.headlines import headlines
from synthgap.report.measures import groups
from synthgap.report.mixing import mixed
from synthgap.report.stages import Stage
from synthgap.report.text_to_image import text_to_image

DEFINITIONS = {
    "Gap to real": (
        "Real→Real less Synth→Real accuracy of the same probe, in percentage points. Each resample "
        "of its interval takes the same test images on both sides."
    ),
    "Accuracy relative to real": (
        "Synth→Real divided by Real→Real accuracy of the same probe: at 100 % the generated images "
        "teach as well as the real ones. Resampled in pairs, like the gap."
    ),
    "Rank correlation": (
        "Spearman's, over the generators of one kind of prompt, with the interval of Bonett and "
        "Wright (2000); ties take the mean of their ranks. None is told of fewer than five "
        "generators. It takes the generators as drawn at random from more of their kind, and says "
        "nothing of the errors of their numbers."
    ),
    "Differences over generators": (
        "From three generators on the mean of one difference each, with Student's t interval over "
        "the generators. Of fewer, that of each one: the intervals of its numbers are squared and "
        "added (Newcombe 1998, Zou and Donner 2008), as if independent, which rather widens them."
    ),
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
_PER_SOURCE |= {"arm", "arm_order", "baseline", "training", "on_curve", "denoiser", "captions"}
_PER_SOURCE |= {"augmentation", "training_step", "training_steps"}


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
    numbers: Mapping[str, str] | None = None,
    claims: Sequence[Claim] = (),
    classes: Sequence[Mapping[str, Any]] = (),
    specs: Mapping[str, str] | None = None,
    examples: Examples | None = None,
    stages: Sequence[Stage] = (),
) -> str:
    """One HTML page that needs nothing else: no network and no further files.

    Args:
        table: the metrics table (`synthgap.metrics.table`).
        figures: SVG text by name; `synthgap.report.figures` has their captions and order.
        sheets: contact sheets, each with `title`, `caption` and `png_bytes`.
        context: `config_yaml` (str), `versions` (name -> version) and `commands` (list of str);
            optional `title`, `question`, `given` (the options that name the config files),
            `gpu_stages` (the names of those whose jobs each had a GPU),
            `caption_prompt` (the text that a captioner was asked with), `quizzes` (see
            `synthgap.report.distinguish`), and `architecture` or `distribution` where the table
            holds several (see `synthgap.figures.data`).
        caption_sample: images with captions, see `synthgap.report.captions`; shown where the
            table has numbers of captions.
        numbers: the rows behind the figures as CSV text, by the figure's name, for download.
        claims: `synthgap.report.claims.claims` of the table.
        classes: accuracies by class (`synthgap.metrics.predictions.CLASSES_SCHEMA`).
        specs: Vega-Lite's JSON of figures, by name.
        examples: images to show, with what made them.
        stages: what they took.

    Raises:
        UserError: the table has nothing of any study, is ambiguous, or the context lacks a key.
    """
    lacking = [key for key in ("config_yaml", "versions", "commands") if key not in context]
    if lacking:
        raise UserError(f"report: the context lacks {', '.join(lacking)}")
    rows = table_rows(table)
    sources = data.sources(rows)
    apart = distinguished(rows, context.get("quizzes", ()))
    arms = text_to_image(rows)
    architecture = context.get("architecture")
    accuracy = data.synth_to_real(rows, architecture=architecture)
    trained = casd(rows)
    if not (apart or arms or trained):
        data.require_sources(sources)
        data.require("top-1 accuracy on real images", accuracy, [])
    main = _main_columns(rows, accuracy, context) if accuracy else []

    page = _environment().get_template("template.html.j2")
    return page.render(
        title=context.get("title", "From synthetic to real"),
        question=context.get("question"),
        answer=answer(sources, accuracy, context.get("question")) if accuracy else None,
        distinguished=apart,
        text_to_image=arms,
        casd=trained,
        real=accuracy.get(data.REAL),
        sources=sources,
        real_name=data.REAL,
        main=main,
        claims=claims,
        probes=_probe_columns(rows, architecture),
        lost=lost_classes(classes, sources),
        architectures=_architecture_columns(rows, architecture),
        groups=groups(rows),
        figures=shown_figures(figures, numbers or {}, specs or {}),
        gallery=gallery(examples, context.get("given", "")) if examples else None,
        mixing=mixed(rows),
        modes=MODES,
        # The first is the one at the page's top.
        further=headlines(rows)[1:],
        stages=stages,
        gpu_stages=context.get("gpu_stages", ()),
        neutrals=embedded(DARK),
        modules=["tables", *(["charts"] if specs else []), *(["images"] if examples else [])],
        scripts=scripts,
        sheets=[
            {"fit": False, **sheet, "uri": data_uri("image/png", sheet["png_bytes"])}
            for sheet in sheets
        ],
        captions=captions(rows, caption_sample, context.get("caption_prompt", "")),
        made=_made(rows, main, claims),
        levels=sorted({f"{100 * row.ci_level:g} %" for row in rows if row.ci_low is not None}),
        context=context,
    )


def _main_columns(rows: list[Row], accuracy: BySource, context: Mapping[str, Any]) -> list[Column]:
    """The main table's columns; those without any row are left out."""
    architecture = context.get("architecture")
    gap = data.synth_to_real(rows, architecture=architecture, metric=data.GAP)
    columns = [
        Column("Synth→Real", "trained on it, tested on real", accuracy),
        Column("Gap to real", "in percentage points", _in_points(gap), percent=False, digits=1),
        Column(
            "Real→Synth",
            "trained on real, tested on it",
            data.real_to_synth(rows, architecture=architecture),
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


def _in_points(rows: BySource) -> dict[str, Row]:
    """Fractions as percentage points."""
    limits = ("value", "ci_low", "ci_high")
    return {
        name: dataclasses.replace(
            row, **{limit: at * 100 for limit in limits if (at := getattr(row, limit)) is not None}
        )
        for name, row in rows.items()
    }


def _architecture_columns(rows: list[Row], architecture: str | None) -> list[Column]:
    """Accuracy in RGB of each architecture; none where there is but one."""
    columns = []
    for probe in ("rgb", *data.architectures(rows)):
        chosen = architecture if probe == "rgb" else None
        found = data.synth_to_real(rows, probe=probe, architecture=chosen)
        titles = sorted({row.architecture or probe for row in found.values()})
        columns.append(Column(", ".join(titles), f"probe {probe}", found))
    return columns if len(columns) > 1 else []


def _made(
    rows: list[Row], main: list[Column], claims: Sequence[Claim]
) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """Title, definition and facts of each kind of number on the page."""
    found = [(c.title, DEFINITIONS[c.title], _facts(rows, c.rows)) for c in main]
    relative = [r for r in rows if r.metric == data.RELATIVE and r.seed is None]
    if relative:
        title = "Accuracy relative to real"
        facts = _facts(rows, {str(i): row for i, row in enumerate(relative)})
        found.append((title, DEFINITIONS[title], facts))
    measures = {finding.measure for claim in claims for finding in claim.findings}
    if "rank correlation" in measures:
        found.append(("Rank correlation", DEFINITIONS["Rank correlation"], []))
    if measures - {"rank correlation"}:
        title = "Differences over generators"
        found.append((title, DEFINITIONS[title], []))
    return found


def _probe_columns(rows: list[Row], architecture: str | None) -> list[Column]:
    columns = []
    further = data.architectures(rows)
    for probe in [probe for probe in data.probes(rows) if probe not in further]:
        found = data.synth_to_real(rows, probe=probe, architecture=architecture)
        seen = {f"{_view(row)}, {row.architecture}" for row in found.values()}
        columns.append(
            Column(sentence(data.PROBES.get(probe, probe)), "; ".join(sorted(seen)), found)
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


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("synthgap.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": formats.number, "limits": formats.limits}
    environment.filters |= {"points": formats.points, "correlation": formats.correlation}
    environment.filters |= {"x": formats.place, "share": formats.share}
    environment.filters |= {"prompts": data.prompt_title, "duration": duration}
    return environment
