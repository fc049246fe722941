"""The page's section on study D: what synthetic images did to diffusion models.

Its principles (section 1 of paper D) are put to the numbers: a model of real and synthetic images
is compared with DM, which learnt from the same real ones alone, by its Fréchet distance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from synthgap.figures.arms import Number, difference
from synthgap.figures.casd import (
    ARMS,
    COVERAGE,
    FRECHET,
    OTHER_CLASSES,
    RECALL,
    Model,
    control,
    designs,
    numbers,
)
from synthgap.metrics.intervals import Interval
from synthgap.metrics.table import Row
from synthgap.report import formats

Verdict = Literal["better", "worse", "not distinguishable"]
Answer = Literal["holds", "does not hold", "not distinguishable", "not tested"]

# Plain name -> title, whether it is a share, digits. The order is that of the columns.
COLUMNS = {
    FRECHET: ("Fréchet distance ↓", False, 2),
    RECALL: ("Recall ↑", True, 1),
    COVERAGE: ("Coverage ↑", True, 1),
    "lpips": ("LPIPS to the nearest training image ↑", False, 3),
    "ssim": ("SSIM with the nearest training image ↓", False, 3),
    "memorised_share_lpips": ("Copies, by LPIPS ↓", True, 1),
    "memorised_share_ssim": ("Copies, by SSIM ↓", True, 1),
    OTHER_CLASSES: ("Of other classes than the real ones ↓", True, 1),
}


@dataclass(frozen=True)
class Cell:
    """A number and its limits, as the page writes them."""

    value: str
    limits: str


@dataclass(frozen=True)
class Line:
    """A model, or the control: its numbers (None: none), and how it compares with DM."""

    title: str
    arm: str
    """of a model"""
    images: str
    synthetic: str
    cells: list[Cell | None]
    verdict: Verdict | None
    difference: str


@dataclass(frozen=True)
class Table:
    """A design."""

    name: str
    note: str
    columns: list[tuple[str, str]]
    """title, and which variant"""
    lines: list[Line]


@dataclass(frozen=True)
class Principle:
    """One of the paper's principles for an arm."""

    arm: str
    title: str
    answer: Answer
    sentence: str


@dataclass(frozen=True)
class Section:
    """All that the section shows."""

    headline: str
    tables: list[Table]
    principles: list[Principle]


@dataclass(frozen=True)
class Case:
    """A model beside DM of the same real images."""

    design: str
    model: Model
    frechet: Interval
    """of the model less DM's: above 0 is worse"""
    others: Interval | None
    """the same of the share of other classes, where the design has `classes`"""

    @property
    def verdict(self) -> Verdict:
        """Whether the interval lies clear of 0."""
        return verdict(self.frechet)


def verdict(of: Interval) -> Verdict:
    """Return what a difference of Fréchet distances says."""
    if of.high < 0:
        return "better"
    return "worse" if of.low > 0 else "not distinguishable"


def casd(rows: Sequence[Row]) -> Section | None:
    """What the table has of study D, or None."""
    tables, cases = [], list[Case]()
    for design in designs(rows):
        found = numbers(rows, design)
        here = {case.model: case for case in cases_of(design, found)}
        cases += here.values()
        tables.append(_table(design, found, here, control(rows, design)))
    if not tables:
        return None
    principles = [one for arm in ("casd", "sda") for one in principles_of(arm, cases)]
    return Section(_headline(principles), tables, principles)


def cases_of(design: str, found: Mapping[Model, Mapping[str, Number]]) -> list[Case]:
    """Return how models with synthetic images compare with those without."""
    cases = []
    for model, own in found.items():
        base = found.get(model.baseline, {})
        if model.arm == "dm" or FRECHET not in own or FRECHET not in base:
            continue
        others = None
        if OTHER_CLASSES in own and OTHER_CLASSES in base:
            others = difference(own[OTHER_CLASSES], base[OTHER_CLASSES])
        cases.append(Case(design, model, difference(own[FRECHET], base[FRECHET]), others))
    return cases


def principles_of(arm: str, cases: Sequence[Case]) -> list[Principle]:
    """Return the three principles, and that no bias comes in, for the models of an arm."""
    mine = [case for case in cases if case.model.arm == arm]
    if not mine:
        return []
    return [_no_harm(arm, mine), *_no_bias(arm, mine), _utility(arm, mine), _adaptable(arm, mine)]


def _no_harm(arm: str, cases: Sequence[Case]) -> Principle:
    """No interval lies on the worse side: what cannot be told from DM does no harm that is seen."""
    worse = [case for case in cases if case.verdict == "worse"]
    said = f"worse than DM in {len(worse)} of {len(cases)} cases"
    if worse:
        said += f": {_listed(worse)}"
    answer: Answer = "does not hold" if worse else "holds"
    return Principle(ARMS[arm], "No harm", answer, said)


def _no_bias(arm: str, cases: Sequence[Case]) -> list[Principle]:
    """Where classes differ, no more images than DM has of classes that no real image is of."""
    told = [(case, case.others) for case in cases if case.others is not None]
    if not told:
        return []
    more = [case for case, others in told if others.low > 0]
    largest = max((others for _, others in told), key=lambda others: others.value)
    said = (
        f"more images of other classes than DM in {len(more)} of {len(told)} cases; at most "
        f"{formats.points(largest.value)} percentage points ({_points(largest)})"
    )
    return [Principle(ARMS[arm], "No bias", "does not hold" if more else "holds", said)]


def _utility(arm: str, cases: Sequence[Case]) -> Principle:
    """All intervals lie on the better side."""
    better = [case for case in cases if case.verdict == "better"]
    worse = [case for case in cases if case.verdict == "worse"]
    answer: Answer = "not distinguishable"
    if len(better) == len(cases):
        answer = "holds"
    elif worse or not better:
        answer = "does not hold" if worse else "not distinguishable"
    said = f"better than DM in {len(better)} of {len(cases)} cases"
    return Principle(ARMS[arm], "Positive utility", answer, said)


def _adaptable(arm: str, cases: Sequence[Case]) -> Principle:
    """Useful and harmless whatever the synthetic images: other sources, or other classes of one."""
    kinds: dict[tuple[str | None, tuple[int, ...] | None], list[Verdict]] = {}
    for case in cases:
        kinds.setdefault((case.model.source, case.model.synthetic_classes), []).append(case.verdict)
    good = [found for found in kinds.values() if "better" in found and "worse" not in found]
    harmed = any("worse" in found for found in kinds.values())
    answer: Answer = "not distinguishable"
    if len(kinds) < 2:
        return Principle(
            ARMS[arm],
            "Broad adaptability",
            "not tested",
            "there is only one kind of synthetic images",
        )
    if len(good) == len(kinds):
        answer = "holds"
    elif harmed:
        answer = "does not hold"
    said = (
        f"better than DM at some size, and worse at none, with {len(good)} of {len(kinds)} kinds "
        "of synthetic images (sources, or classes of one)"
    )
    return Principle(ARMS[arm], "Broad adaptability", answer, said)


def _headline(principles: Sequence[Principle]) -> str:
    of = {(one.arm, one.title): one.answer for one in principles}
    harm, use = of.get(("CASD", "No harm")), of.get(("CASD", "Positive utility"))
    if harm is None:
        return "No model was told where its images come from."
    if harm == "does not hold":
        return (
            "Told where images come from, models were made worse by synthetic ones in some cases."
        )
    if use == "holds":
        return (
            "Told where images come from, models were made better by synthetic ones in all cases."
        )
    return "Told where images come from, no model was made worse by synthetic ones."


def _table(
    design: str,
    found: Mapping[Model, Mapping[str, Number]],
    cases: Mapping[Model, Case],
    real: Mapping[str, Number],
) -> Table:
    names = [name for name in COLUMNS if any(name in own for own in found.values())]
    columns = []
    for name in names:
        metrics = {own[name].rows[0].metric for own in found.values() if name in own}
        columns.append((COLUMNS[name][0], ", ".join(sorted(metrics)).replace("_", " ")))

    def cells_of(own: Mapping[str, Number]) -> list[Cell | None]:
        return [_cell(name, own[name].interval) if name in own else None for name in names]

    lines = []
    if real:
        lines.append(Line("real test images", "", "", "", cells_of(real), None, ""))
    for model, own in found.items():
        case = cases.get(model)
        told = (
            "" if case is None else f"{_number(case.frechet.value, 2)} ({_limits(case.frechet, 2)})"
        )
        sizes = (f"{model.images:,}", f"{model.synthetic:,}")
        compared = case.verdict if case else None
        lines.append(Line(model.title, model.arm, *sizes, cells_of(own), compared, told))
    return Table(design, _note(found), columns, lines)


def _note(found: Mapping[Model, Mapping[str, Number]]) -> str:
    """Which classes a design is of, and how many trainings each number."""
    model = next(iter(found))
    told = []
    if model.classes is not None:
        told.append(f"Real images of the classes {_range(model.classes)}.")
        if others := {one.synthetic_classes for one in found if one.synthetic_classes}:
            told.append(f"Synthetic ones of {' or '.join(map(_range, sorted(others)))}.")
    trainings = {len(number.rows) for own in found.values() for number in own.values()}
    if max(trainings) > 1:
        told.append(f"Means over {max(trainings)} trainings.")
    return " ".join(told)


def _range(classes: Sequence[int]) -> str:
    low, high = min(classes), max(classes)
    whole = list(range(low, high + 1)) == sorted(classes)
    return f"{low} to {high}" if whole and high > low else ", ".join(map(str, classes))


def _cell(name: str, of: Interval) -> Cell:
    _, percent, digits = COLUMNS[name]
    if not percent:
        return Cell(_number(of.value, digits), _limits(of, digits))
    limits = "" if math.isnan(of.low) else f"{100 * of.low:.1f} – {100 * of.high:.1f}"
    return Cell(f"{100 * of.value:.1f}\N{NO-BREAK SPACE}%", limits)


def _number(value: float, digits: int) -> str:
    return formats.minus(f"{value:,.{digits}f}")


def _limits(of: Interval, digits: int) -> str:
    if math.isnan(of.low):
        return "no interval"
    return f"{_number(of.low, digits)} to {_number(of.high, digits)}"


def _points(of: Interval) -> str:
    return (
        "no interval"
        if math.isnan(of.low)
        else (f"{formats.points(of.low)} to {formats.points(of.high)}")
    )


def _listed(cases: Sequence[Case]) -> str:
    told = [f"{case.model.images:,} real images and {case.model.synthetic:,} of {case.model.source}"
            f" ({case.design})" for case in cases[:4]]  # fmt: skip
    more = f" and {len(cases) - 4} more" if len(cases) > 4 else ""
    return "; ".join(told) + more
