"""What a claim comes to in numbers: an estimate over generators, its interval, and a sentence."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from synthgap.figures.data import prompt_title
from synthgap.metrics.estimates import LEAST as LEAST_AVERAGED
from synthgap.metrics.estimates import signed_sum, student
from synthgap.metrics.intervals import Interval
from synthgap.metrics.rank_correlation import LEAST as LEAST_RANKED
from synthgap.metrics.rank_correlation import spearman
from synthgap.metrics.table import Row
from synthgap.report import formats

Verdict = Literal["holds", "does not hold", "not distinguishable", "not tested"]
LEVEL = 0.95


@dataclass(frozen=True)
class Finding:
    """What the table says of a claim, in one case of it."""

    sentence: str
    verdict: Verdict
    """`does not hold`: the opposite is shown; `not tested`: there are too few generators"""
    measure: Literal["rank correlation", "mean difference", "difference"]
    estimate: float
    """in -1..1, NaN where there is none; a difference is one of fractions, not of percent"""
    low: float
    high: float
    level: float
    n: int
    """generators"""
    prompts: str = ""
    about: str = ""
    """the score, probes or architecture"""
    generator: str = ""
    """where it is of a single one"""


def correlated(
    pairs: Sequence[tuple[float, float]],
    expected: int,
    *,
    what: str,
    by: str,
    prompts: str = "",
    about: str = "",
) -> Finding:
    """Spearman's rank correlation over generators.

    Args:
        pairs: (x, y) of each generator.
        expected: sign that is claimed, +1 or -1.
        what: y in words, with `by` for x.
    """
    n = len(pairs)
    if n < LEAST_RANKED:
        return untested(n, prompts=prompts, about=about)
    found = spearman([x for x, _ in pairs], [y for _, y in pairs], LEVEL)
    verdict = _verdict(found, expected)
    if math.isnan(found.value):
        verdict, says = "not tested", f"{what} or {by} is the same for all {n} generators"
    else:
        way = "rises" if found.value > 0 else "falls"
        says = f"{what} {way} with {by}"
        if verdict == "not distinguishable":
            says = f"it cannot be told whether {what} rises or falls with {by}"
        interval = _interval(found, LEVEL, formats.correlation)
        size = formats.correlation(found.value)
        says += f": rank correlation {size} over {n} generators ({interval})"
    sentence = formats.sentence(f"{_case(prompts)}{says}.")
    return Finding(
        sentence, verdict, "rank correlation", *found, LEVEL, n, prompts=prompts, about=about
    )


def untested(n: int, *, prompts: str = "", about: str = "") -> Finding:
    """That there are too few generators to correlate anything over."""
    there = "is 1 generator" if n == 1 else f"are {n} generators"
    says = f"{_case(prompts)}there {there} to compare; a rank correlation takes at least "
    sentence = formats.sentence(f"{says}{LEAST_RANKED}, so none is claimed.")
    nothing = (math.nan, math.nan, math.nan)
    return Finding(sentence, "not tested", "rank correlation", *nothing, LEVEL, n, prompts, about)


def compared(
    terms: Mapping[str, Sequence[tuple[int, Row]]],
    expected: int,
    *,
    what: str,
    than: str,
    prompts: str = "",
    about: str = "",
) -> list[Finding]:
    """A difference over generators; where there are one or two, that of each.

    Args:
        terms: by generator, the signed rows whose sum is the difference.
        expected: sign that is claimed, +1 or -1.
        what: what is compared, in words, with `than`.
    """
    n = len(terms)
    if n >= LEAST_AVERAGED:
        differences = [signed_sum(of).value for of in terms.values()]
        mean = student(differences, LEVEL)
        verdict = _verdict(mean, expected)
        alike = sum(difference * mean.value > 0 for difference in differences)
        side = "above" if mean.value > 0 else "below"
        says = _difference(what, than, mean, verdict, LEVEL, " on average")
        sentence = formats.sentence(f"{_case(prompts)}{says}, {side} in {alike} of {n} generators.")
        return [
            Finding(
                sentence, verdict, "mean difference", *mean, LEVEL, n, prompts=prompts, about=about
            )
        ]
    singles = []
    for generator, of in terms.items():
        found, level = signed_sum(of), of[0][1].ci_level
        verdict = _verdict(found, expected)
        says = _difference(what, than, found, verdict, level)
        sentence = formats.sentence(f"{_case(prompts, generator)}{says}.")
        singles.append(
            Finding(sentence, verdict, "difference", *found, level, 1, prompts, about, generator)
        )
    return singles


def _case(prompts: str, generator: str = "") -> str:
    words = [generator, prompt_title(prompts) if prompts else ""]
    told = " and ".join(word for word in words if word)
    return f"with {told}, " if told else ""


def _difference(
    what: str, than: str, found: Interval, verdict: Verdict, level: float, mean: str = ""
) -> str:
    interval = _interval(found, level, formats.points)
    if verdict == "not distinguishable":
        size = f"{formats.points(found.value)} percentage points{mean}"
        return f"{what} cannot be told from {than}: {size} ({interval})"
    side = "above" if found.value > 0 else "below"
    size = f"{100 * abs(found.value):.1f} percentage points {side} {than}{mean}"
    return f"{what} is {size} ({interval})"


def _interval(found: Interval, level: float, form: Callable[[float], str]) -> str:
    if math.isnan(found.low):
        return "no interval"
    return f"{100 * level:g}\N{NO-BREAK SPACE}% interval {form(found.low)} to {form(found.high)}"


def _verdict(found: Interval, expected: int) -> Verdict:
    sign = 1 if found.low > 0 else -1 if found.high < 0 else 0
    if not sign:
        return "not distinguishable"
    return "holds" if sign == expected else "does not hold"
