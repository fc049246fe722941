"""The page's section on captions: what the table says of them, and some beside their images."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from synthgap.figures.data import REAL
from synthgap.metrics.captions import ANY, STUDY
from synthgap.metrics.table import Row

# Metric -> title, note, whether it is a share. The order is that of the page.
MEASURES = {
    "words_mean": ("Words in a caption", "mean", False),
    "tokens_mean": ("Tokens in a caption", "mean, as the captioner counts them", False),
    "distinct_words": ("Distinct words", "", False),
    "share_naming_class": (
        "Name their class",
        "one of its names, as whole words, in singular or plural",
        True,
    ),
    "share_duplicate": ("Duplicates", "equal to an earlier one, but for case and space", True),
    "share_refused": ("Refused", "the model declined", True),
    "share_empty": ("Empty", "nothing was left of the reply", True),
    "share_failed": ("Failed", "no reply came", True),
    "share_cut_off": ("Cut off", "the reply reached the limit of tokens", True),
}
OF_CAPTIONS = {"words_mean", "tokens_mean", "share_naming_class", "share_duplicate"}
# Images narrower than this, in pixels, are shown with sharp pixels.
_TINY = 128


@dataclass(frozen=True)
class Line:
    """A line of the section's table."""

    title: str
    note: str
    row: Row
    percent: bool
    digits: int
    of: str


@dataclass(frozen=True)
class Cut:
    """What one text encoder cut from the prompts of a source."""

    source: str
    encoder: str
    share: Row
    tokens: Row


@dataclass(frozen=True)
class Shown:
    """An image with its caption; `without` says why it has none."""

    class_name: str
    caption: str
    without: str
    uri: str
    tiny: bool


@dataclass(frozen=True)
class Captions:
    """The section. `whole` names the sources whose prompts were read to their ends."""

    facts: list[tuple[str, str]]
    prompt: str
    lines: list[Line]
    cuts: list[Cut]
    whole: list[str]
    sample: list[Shown]


def captions(
    rows: Sequence[Row], sample: Sequence[Mapping[str, Any]], prompt: str
) -> Captions | None:
    """The section, or None where the table has nothing of captions.

    Args:
        rows: of the metrics table.
        sample: with `class_name`, `caption`, `status` and `image`, the encoded bytes.
        prompt: text that the captioner was asked with; "" where it was not asked.
    """
    of_captions = [row for row in rows if row.study == STUDY]
    about = [row for row in of_captions if row.test_source == REAL]
    if not about:
        return None
    cut = [row for row in of_captions if row.test_source != REAL]
    tokens = {_cut_by(row): row for row in cut if row.metric == "tokens_cut_mean"}
    shares = [row for row in cut if row.metric == "share_prompts_cut"]
    cuts = [
        Cut(*_cut_by(share), share, tokens[_cut_by(share)])
        for share in shares
        if _cut_by(share)[1] != ANY
    ]
    return Captions(
        _facts(about),
        prompt,
        _lines(about),
        sorted(cuts, key=lambda one: (one.source, one.encoder)),
        sorted(_cut_by(row)[0] for row in shares if _cut_by(row)[1] == ANY and not row.value),
        [_shown(one) for one in sample],
    )


def _cut_by(row: Row) -> tuple[str, str]:
    return str(row.test_source), str(row.settings["text_encoder"])


def _lines(rows: list[Row]) -> list[Line]:
    lines = []
    for metric, (title, note, is_share) in MEASURES.items():
        found = [row for row in rows if row.metric == metric]
        for row in sorted(found, key=lambda row: row.settings.get("captions", 0)):
            of, digits = f"{row.n:,} {'captions' if metric in OF_CAPTIONS else 'images'}", 2
            if "captions" in row.settings:
                chosen, digits = row.settings["captions"], 0
                of = f"{chosen:,} captions"
                note = "in all" if chosen == row.n else f"expected in so many of the {row.n:,}"
            lines.append(Line(title, note, row, is_share, digits, of))
    return lines


def _facts(rows: list[Row]) -> list[tuple[str, str]]:
    by_metric = {row.metric: row for row in rows}
    images = max(row.n for row in rows)
    captioner, model, prompt = (
        str(rows[0].settings.get(name, "")) for name in ("captioner", "model", "prompt")
    )
    facts = [("Captioner", captioner), ("Prompt", prompt)]
    if model != captioner:
        facts.insert(1, ("Model", model))
    facts += [("Images", f"{images:,}"), ("Captions", f"{_number_of_captions(by_metric):,}")]
    for title, metric, form in (
        ("Tokens read", "input_tokens_total", "{:,.0f}"),
        ("Tokens written", "output_tokens_total", "{:,.0f}"),
        ("Cost", "cost_usd_total", "US$ {:,.2f}"),
    ):
        if row := by_metric.get(metric):
            known = "" if row.n == images else f" (known of {row.n:,} images)"
            facts.append((title, form.format(row.value) + known))
    return [(title, text) for title, text in facts if text]


def _number_of_captions(by_metric: Mapping[str, Row]) -> int:
    row = by_metric.get("words_mean")
    return row.n if row else 0


def _shown(one: Mapping[str, Any]) -> Shown:
    with Image.open(io.BytesIO(one["image"])) as image:
        kind, tiny = image.get_format_mimetype(), image.width < _TINY
    uri = f"data:{kind};base64,{base64.b64encode(one['image']).decode()}"
    without = "" if one["status"] == "ok" else one["status"]
    return Shown(one["class_name"], one["caption"], without, uri, tiny)
