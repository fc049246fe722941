"""The page's section on study B: what captions and augmentation make of models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from synthgap.figures.arms import (
    Arm,
    Column,
    Number,
    arms_of,
    baseline_of,
    columns,
    difference,
)
from synthgap.figures.metric_titles import digits_for
from synthgap.metrics.estimates import LEAST
from synthgap.metrics.intervals import Interval
from synthgap.metrics.table import Row
from synthgap.report import formats

Verdict = Literal["better", "worse", "not distinguishable"]


@dataclass(frozen=True)
class Cell:
    """A number of an arm, and how it differs from the baseline's: no verdict without limits."""

    value: str
    limits: str
    difference: str = ""
    verdict: Verdict | None = None


@dataclass(frozen=True)
class Line:
    """An arm in all metrics, "–" where there is none."""

    arm: Arm
    cells: list[Cell | None]


@dataclass(frozen=True)
class Heading:
    """A column of the table."""

    title: str
    note: str


@dataclass(frozen=True)
class TextToImage:
    """All that the section shows."""

    headline: str
    findings: list[str]
    curves: list[str]
    headings: list[Heading]
    lines: list[Line]
    real: list[Cell | None]
    """what real images come to; empty where that is nowhere known"""
    trainings: int
    """of each model that has most"""
    over_trainings: bool
    """whether intervals are over trainings, or of one training's images"""


def text_to_image(rows: Sequence[Row]) -> TextToImage | None:
    """What the table has of study B, or None."""
    found = columns(rows)
    arms = arms_of(found)
    if not arms:
        return None
    trainings = max(number.trainings for c in found for number in c.by_arm.values())
    lines = [Line(arm, [_cell(column, arm, arms) for column in found]) for arm in arms]
    real = [_real(column) for column in found]
    others = [line for line in lines if baseline_of(line.arm, arms)]
    return TextToImage(
        _headline(others),
        [_finding(line, found, arms) for line in others],
        [text for column in found for text in _overfitting(column)],
        [_heading(column) for column in found],
        lines,
        real if any(real) else [],
        trainings,
        trainings >= LEAST,
    )


def _heading(column: Column) -> Heading:
    note = ", ".join(part for part in (column.note, column.distribution) if part)
    return Heading(f"{column.title.text} {'↑' if column.better > 0 else '↓'}", note)


def _cell(column: Column, arm: Arm, arms: Sequence[Arm]) -> Cell | None:
    number = column.by_arm.get(arm)
    if number is None:
        return None
    value, limits = _told(column, column.interval(number))
    baseline = baseline_of(arm, arms)
    if baseline is None or baseline not in column.by_arm:
        return Cell(value, limits)
    apart = difference(number, column.by_arm[baseline])
    return Cell(value, limits, _difference(column, apart), _verdict(column, apart))


def _real(column: Column) -> Cell | None:
    if column.real is None:
        return None
    return Cell(*_told(column, column.interval(Number((column.real,)))))


def _told(column: Column, interval: Interval) -> tuple[str, str]:
    """A number and its limits as text."""
    scale, digits = _scale(column)
    value, low, high = (scale * part for part in interval)
    unit = "\N{NO-BREAK SPACE}%" if column.title.percent else ""
    text = formats.minus(f"{value:,.{digits}f}") + unit
    if math.isnan(low):
        return text, ""
    ends = [formats.minus(f"{end:,.{digits}f}") for end in (low, high)]
    return text, f"{ends[0]} {'to' if low < 0 else '–'} {ends[1]}"


def _difference(column: Column, apart: Interval) -> str:
    scale, digits = _scale(column)
    value, low, high = (formats.minus(f"{scale * part:+,.{digits}f}") for part in apart)
    return value if math.isnan(apart.low) else f"{value} [{low}, {high}]"


def _scale(column: Column) -> tuple[float, int]:
    """What values are multiplied with, and their decimals."""
    if column.title.percent:
        return 100.0, 1
    return 1.0, digits_for(max(abs(n.interval.value) for n in column.by_arm.values()))


def _verdict(column: Column, apart: Interval) -> Verdict | None:
    """Only where the interval lies clear of zero is there a better and a worse."""
    if math.isnan(apart.low):
        return None
    if apart.low > 0:
        return "better" if column.better > 0 else "worse"
    if apart.high < 0:
        return "worse" if column.better > 0 else "better"
    return "not distinguishable"


def _headline(lines: Sequence[Line]) -> str:
    """How many differences there are, of all that were looked at."""
    verdicts = [cell.verdict for line in lines for cell in line.cells if cell and cell.verdict]
    if not verdicts:
        return "There is nothing to compare."
    better, worse = verdicts.count("better"), verdicts.count("worse")
    if not better + worse:
        return "Not distinguishable: no difference is clear of its uncertainty."
    return (
        f"Of {len(verdicts)} differences from the baseline {better} are for the better, {worse} "
        f"for the worse, and {len(verdicts) - better - worse} cannot be told from none."
    )


def _finding(line: Line, found: Sequence[Column], arms: Sequence[Arm]) -> str:
    """How an arm does beside the baseline, in a sentence."""
    baseline = baseline_of(line.arm, arms)
    assert baseline is not None
    kinds = ("better", "worse", "not distinguishable", "without an interval")
    named: dict[str, list[str]] = {kind: [] for kind in kinds}
    for column, cell in zip(found, line.cells, strict=True):
        if cell and cell.difference:
            kind = cell.verdict or "without an interval"
            told = "" if kind == "not distinguishable" else f" ({cell.difference})"
            named[kind].append(column.title.text + told)
    parts = [f"{kind} in {formats.listed(names)}" for kind, names in named.items() if names]
    learnt = f" ({line.arm.learnt_from})" if line.arm.learnt_from else ""
    return f"{line.arm.label}{learnt}, beside {baseline.label}: {'; '.join(parts)}."


def _overfitting(column: Column) -> list[str]:
    """Where a metric was best before the end, and whether the end is worse."""
    told = []
    for arm, steps in column.by_step.items():
        last = max(steps)
        best = max(steps, key=lambda step: column.better * steps[step].interval.value)
        if best == last:
            continue
        apart = difference(steps[last], steps[best])
        if _verdict(column, apart) == "worse":
            told.append(
                f"{arm.label}: {column.title.text} is best after {best:,} steps and worse at the "
                f"end, after {last:,}: {_difference(column, apart)}."
            )
    return told
