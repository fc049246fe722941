"""The page that puts two runs' numbers side by side."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2

from synthgap.figures.metric_titles import digits_for, title_of, variant_note
from synthgap.metrics.compare import VERDICTS, Compared, Pair, counts, naming
from synthgap.metrics.table import Row
from synthgap.report import formats, scripts

# Beside each other, numbers of all studies need their plain names.
_TITLES = {"top1_accuracy": "Top-1 accuracy", "top5_accuracy": "Top-5 accuracy"}
# Shares that are told in percent, besides those that `metric_titles` knows.
_SHARES = ("accuracy", "share", "gap_to_real", "top5_accuracy", "human_accuracy", "memorised_share")
_TOLD = {"probe", "class", "class_index", "distribution"}
MOST_UNMATCHED = 200
# In place of infinity, which no table can be sorted by.
_CLEAREST = 1e9


@dataclass(frozen=True)
class Number:
    """A number of one run, as the page writes it and as it is sorted."""

    value: float
    text: str
    limits: str


@dataclass(frozen=True)
class Line:
    """A number of both runs."""

    title: str
    note: str
    about: str
    study: str
    first: Number
    second: Number
    difference: Number
    verdict: str
    clearness: float
    differs: str


def page(found: Compared, labels: tuple[str, str], tables: Sequence[str]) -> str:
    """One HTML page that needs nothing else.

    Args:
        labels: what the two runs are called.
        tables: where their tables came from.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("synthgap.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    whole = [pair for pair in found.pairs if not pair.is_detail]
    details = [pair for pair in found.pairs if pair.is_detail]
    return environment.get_template("compare.html.j2").render(
        modules=["tables"],
        scripts=scripts,
        first=labels[0],
        second=labels[1],
        tables=tables,
        headline=headline(found.pairs),
        expected=expected_by_chance(found.pairs),
        verdicts=VERDICTS,
        counts=counts(found.pairs),
        lines=[line_of(pair) for pair in whole],
        details=[line_of(pair) for pair in details],
        unmatched={
            label: ([_told(row) for row in rows[:MOST_UNMATCHED]], len(rows))
            for label, rows in zip(labels, (found.only_first, found.only_second), strict=True)
        },
    )


def headline(pairs: Sequence[Pair]) -> str:
    """How many numbers differ, in a sentence."""
    if not pairs:
        return "The two runs have no number in common."
    with_interval = [pair for pair in pairs if pair.verdict != "no interval"]
    clear = [pair for pair in with_interval if pair.verdict != "not shown"]
    if not with_interval:
        return "No number that both have comes with an interval, so no difference can be shown."
    if not clear:
        return f"No difference is shown: all {len(with_interval):,} lie within their uncertainty."
    higher = sum(pair.verdict == "higher" for pair in clear)
    return (
        f"Of {len(with_interval):,} numbers that both runs have with an interval, {higher:,} are "
        f"higher, {len(clear) - higher:,} lower, and of {len(with_interval) - len(clear):,} no "
        "difference is shown."
    )


def expected_by_chance(pairs: Sequence[Pair]) -> float:
    """How many clear differences there would be at most if nothing differed."""
    levels = [pair.first.ci_level for pair in pairs if pair.verdict != "no interval"]
    return sum(1 - level for level in levels)


def line_of(pair: Pair) -> Line:
    """A pair as the page writes it."""
    row, title = pair.second, title_of(pair.second.metric)
    share = is_share(row.metric)
    digits = digits_for(max(abs(pair.first.value), abs(pair.second.value)))
    first, second = (
        Number(
            one.value,
            formats.minus(formats.number(one, share, digits)),
            formats.minus(formats.limits(one, share, digits)),
        )
        for one in (pair.first, pair.second)
    )
    return Line(
        title=_TITLES.get(row.metric, title.text[:1].upper() + title.text[1:]),
        note=variant_note(row.metric),
        about=_about(row),
        study=row.study.replace("_", " "),
        first=first,
        second=second,
        difference=_difference(pair, share, digits),
        verdict=pair.verdict,
        clearness=pair.clearness if math.isfinite(pair.clearness) else _CLEAREST,
        differs=_differs(pair.differs),
    )


def is_share(metric: str) -> bool:
    """Whether a number is told in percent, and its differences in percentage points."""
    return title_of(metric).percent or any(word in metric for word in _SHARES)


def _difference(pair: Pair, share: bool, digits: int) -> Number:
    value, low, high = pair.difference

    def text(of: float) -> str:
        return formats.points(of) if share else formats.minus(f"{of:+,.{digits}f}")

    limits = "" if math.isnan(low) else f"{text(low)} to {text(high)}"
    return Number(value, text(value), limits)


def _about(row: Row) -> str:
    """What a number is of: its sources, what was seen and by what."""
    if row.train_source and row.test_source:
        sources = f"{row.train_source} → {row.test_source}"
    else:
        sources = row.train_source or row.test_source or ""
    parts = [sources, row.view, row.architecture, row.encoder]
    parts += [f"seed {row.seed}"] if row.seed is not None else []
    settings = dict(naming(row))
    if "class" in row.settings:
        parts.append(str(row.settings["class"]))
    probe = settings.get("probe")
    parts.append(f"probe {probe}" if probe and probe != row.view else "")
    # What a study calls by the name of its sources is told already.
    settings = {
        key: value
        for key, value in settings.items()
        if key not in _TOLD and not isinstance(value, dict | list)
    }
    parts += [f"{key.replace('_', ' ')} {_short(value)}" for key, value in settings.items()]
    return ", ".join(str(part) for part in parts if part)


def _differs(found: Mapping[str, tuple[Any, Any]]) -> str:
    told = [
        f"{'items' if key == 'n' else key.replace('_', ' ')} {_short(first)} → {_short(second)}"
        for key, (first, second) in found.items()
    ]
    return "; ".join(told)


def _short(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _told(row: Row) -> str:
    return f"{row.study}: {row.metric.replace('_', ' ')} of {_about(row) or 'all'}"
