"""The plain-language answer to a transfer study's question, computed from its numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from synthgap.figures import data
from synthgap.figures.data import BySource, Source
from synthgap.metrics.estimates import signed_sum
from synthgap.metrics.table import Row

# Of fewer, a rank correlation says nothing; the claims have the same limit.
LEAST = 5

Verdict = Literal["yes", "no", "not distinguishable"]

QUESTIONS = {
    "guidance scale": "Does a generator that follows its prompt better make better training data?",
    "release date": "Do newer generators make better training data?",
}


@dataclass(frozen=True)
class Comparison:
    """Synth->Real of the source with the highest x against the one with the lowest."""

    prompts: str
    first: Source
    last: Source
    first_row: Row
    last_row: Row
    low: float
    high: float
    """limits of the difference last - first; NaN when an interval is missing"""
    rank_correlation: float | None
    """Spearman's, of x and accuracy over all sources of this kind; from five sources on"""
    sources: int

    @property
    def difference(self) -> float:
        """Accuracy of the last source minus that of the first."""
        return self.last_row.value - self.first_row.value

    @property
    def verdict(self) -> Verdict:
        """Is a higher x better: only if the interval of the difference lies clear of zero."""
        if self.low > 0:
            return "yes"
        if self.high < 0:
            return "no"
        return "not distinguishable"


@dataclass(frozen=True)
class Answer:
    """What the page says at its top."""

    question: str
    headline: str
    comparisons: list[Comparison]


def answer(
    sources: Sequence[Source], accuracy: BySource, question: str | None = None
) -> Answer | None:
    """Compare the ends of the x axis within each kind of prompt.

    The difference has a square-and-add interval (Newcombe, Statistics in Medicine 1998, method
    10), which combines the two accuracies' own intervals. It takes them as independent; both come
    from the same test images, so it is rather too wide than too narrow.

    Args:
        sources: in order of x.
        accuracy: Synth->Real rows by source.
        question: overrides the wording for the sources' x.

    Returns:
        None if no kind of prompt has two values of x to compare.
    """
    comparisons = []
    for kind in data.prompt_kinds(sources):
        series = [s for s in sources if s.prompts == kind and s.name in accuracy]
        if len({s.x for s in series}) > 1:
            comparisons.append(_compare(kind, series, accuracy))
    if not comparisons:
        return None
    x_name = sources[0].x_name
    question = question or QUESTIONS.get(
        x_name, f"Does a higher {x_name} make a generator's images better training data?"
    )
    return Answer(question, _headline(comparisons), comparisons)


def _compare(kind: str, series: list[Source], accuracy: BySource) -> Comparison:
    first, last = series[0], series[-1]
    a, b = accuracy[first.name], accuracy[last.name]
    _, low, high = signed_sum([(1, b), (-1, a)])
    return Comparison(
        kind, first, last, a, b, low, high, _rank_correlation(series, accuracy), len(series)
    )


def _rank_correlation(series: list[Source], accuracy: BySource) -> float | None:
    if len(series) < LEAST:
        return None
    from scipy.stats import spearmanr

    found = spearmanr([s.x for s in series], [accuracy[s.name].value for s in series]).statistic
    return None if math.isnan(found) else float(found)


def _headline(comparisons: list[Comparison]) -> str:
    verdicts = {c.verdict for c in comparisons}
    if verdicts == {"yes"}:
        return "Yes: here, the training data get better."
    if verdicts == {"no"}:
        return "No: here, the training data get worse."
    if verdicts == {"not distinguishable"}:
        return "Not distinguishable: the differences lie within their uncertainty."
    if verdicts >= {"yes", "no"}:
        return "It depends on the prompts."
    better = "better" if "yes" in verdicts else "worse"
    return f"For some prompts the training data get {better}; for others no difference is seen."
