"""Each study's question, and what its numbers say, in a sentence or two."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from synthgap.errors import UserError
from synthgap.figures import data
from synthgap.metrics.table import Row
from synthgap.report import formats
from synthgap.report.answer import Comparison, answer
from synthgap.report.casd import casd
from synthgap.report.distinguish import distinguished
from synthgap.report.mixing import mixed
from synthgap.report.text_to_image import text_to_image


@dataclass(frozen=True)
class Headline:
    """A study's question, and what its numbers say."""

    question: str
    answer: str
    findings: list[str] = field(default_factory=list)
    anchor: str = ""
    """of its section on the page"""


def headlines(rows: Sequence[Row]) -> list[Headline]:
    """What the page says at its top and in its sections, a headline for each study."""
    tellers: list[Callable[[Sequence[Row]], Headline | None]] = [
        _transfer,
        _distinguish,
        _text_to_image,
        _casd,
    ]
    found: list[Headline] = []
    for tell in tellers:
        try:
            headline = tell(rows)
        except (UserError, KeyError):
            continue  # the page says what is wrong with the table
        if headline:
            found.append(headline)
    return [*found, *_mixed(rows)]


def _transfer(rows: Sequence[Row]) -> Headline | None:
    accuracy = data.synth_to_real(rows)
    found = answer(data.sources(rows), accuracy)
    if found is None:
        return None
    findings = [_compared(comparison) for comparison in found.comparisons]
    real = accuracy.get(data.REAL)
    if real:
        findings.append(f"Real training images reach {formats.number(real)}.")
    return Headline(found.question, found.headline, findings, "numbers")


def _compared(of: Comparison) -> str:
    difference = f"{formats.points(of.difference)} points"
    if not math.isnan(of.low):
        difference += f" ({formats.points(of.low)} to {formats.points(of.high)})"
    return (
        f"With {data.prompt_title(of.prompts)}: {formats.number(of.last_row)} on real images after "
        f"{of.last.generator}, {formats.number(of.first_row)} after {of.first.generator}: "
        f"{difference}."
    )


def _distinguish(rows: Sequence[Row]) -> Headline | None:
    found = distinguished(rows)
    question = "Can classifiers tell generated images from real ones?"
    return Headline(question, found.headline, found.best, "distinguish") if found else None


def _text_to_image(rows: Sequence[Row]) -> Headline | None:
    found = text_to_image(rows)
    question = "What do captions and augmentation make of text-to-image models?"
    return Headline(question, found.headline, anchor="text-to-image") if found else None


def _casd(rows: Sequence[Row]) -> Headline | None:
    found = casd(rows)
    if not found:
        return None
    findings = [f"{p.arm}, {p.title.lower()}: {p.answer}, {p.sentence}." for p in found.principles]
    question = "Do synthetic images help a diffusion model?"
    return Headline(question, found.headline, findings, "casd")


def _mixed(rows: Sequence[Row]) -> list[Headline]:
    return [Headline(one.question, one.headline, anchor=one.study) for one in mixed(rows)]
