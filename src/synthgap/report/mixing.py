"""What generated images do in the place of real ones, and beside them, in sentences and a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from synthgap.figures.mixing import ALONE, MODES, selected
from synthgap.metrics.estimates import signed_sum
from synthgap.metrics.table import Row
from synthgap.report.formats import share

Verdict = Literal["better", "worse", "not shown", "no interval"]

QUESTIONS = {
    "mixing": "Can generated images stand in for real ones in training?",
    "semi_supervised": "Can they where only few images have labels?",
}


@dataclass(frozen=True)
class Line:
    """A classifier that learnt from real and generated images, beside one of real images alone."""

    source: str
    classifier: str
    mode: str
    ratio: float
    """generated images for each real one that there is"""
    row: Row
    alone: Row
    difference: float
    low: float
    high: float

    @property
    def verdict(self) -> Verdict:
        """Only where the interval of the difference lies clear of zero is there one."""
        if math.isnan(self.low):
            return "no interval"
        return "better" if self.low > 0 else "worse" if self.high < 0 else "not shown"


@dataclass(frozen=True)
class Mixed:
    """What the page says of a study of mixtures."""

    study: str
    question: str
    headline: str
    lines: list[Line]


def mixed(rows: Sequence[Row]) -> list[Mixed]:
    """Each study of mixtures that the table has rows of."""
    found = []
    for study, question in QUESTIONS.items():
        if not any(row.study == study for row in rows):
            continue
        sources, by_mode = selected(list(rows), study)
        lines = [
            _line(source.name, classifier, mode, ratio, row, points[source.name][ALONE])
            for mode, of_mode in by_mode.items()
            for classifier, points in of_mode.items()
            for source in sources
            if ALONE in points.get(source.name, {})
            for ratio, row in points[source.name].items()
            if ratio != ALONE
        ]
        if lines:
            found.append(Mixed(study, question, headline(lines), lines))
    return found


def headline(lines: Sequence[Line]) -> str:
    """How much can be replaced without a loss that is shown, and whether more images help."""
    told = []
    for mode in MODES:
        of_mode = [line for line in lines if line.mode == mode]
        if of_mode:
            told.append((_replaced if mode == "replace" else _added)(of_mode))
    text = "; ".join(told)
    return f"{text[:1].upper()}{text[1:]}."


def _replaced(lines: Sequence[Line]) -> str:
    ratios = sorted({line.ratio for line in lines})
    lost = {line.ratio for line in lines if line.verdict == "worse"}
    safe = [ratio for ratio in ratios if not lost or ratio < min(lost)]
    if not safe:
        return f"replacing {share(ratios[0])} of the real images costs accuracy"
    found = f"no loss is shown with {share(min(safe[-1], 1.0))} of the real images replaced"
    return f"{found}, a loss with {share(min(lost))}" if lost else found


def _added(lines: Sequence[Line]) -> str:
    verdicts = {line.verdict for line in lines}
    if verdicts >= {"better", "worse"}:
        return "adding generated images helps in some cases and harms in others"
    if "better" in verdicts:
        return "adding generated images helps"
    if "worse" in verdicts:
        return "adding generated images harms"
    return "adding generated images is not shown to help or harm"


def _line(source: str, classifier: str, mode: str, ratio: float, row: Row, alone: Row) -> Line:
    difference, low, high = signed_sum([(1, row), (-1, alone)])
    return Line(source, classifier, mode, ratio, row, alone, difference, low, high)
