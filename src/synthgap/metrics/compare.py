"""Two metrics tables side by side: which numbers differ by more than their intervals allow."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from synthgap.errors import UserError
from synthgap.metrics.estimates import signed_sum
from synthgap.metrics.intervals import Interval
from synthgap.metrics.table import Row

Verdict = Literal["higher", "lower", "not shown", "no interval"]
VERDICTS: tuple[Verdict, ...] = ("higher", "lower", "not shown", "no interval")

# Settings that say how a number was made and do not name it: runs that are worth comparing differ
# in some. Where a number's settings are not the same in both, the comparison says in which.
DESCRIBING = frozenset(
    {
        *("generator", "prompts", "x", "x_name", "order", "arm_order", "chance", "control"),
        *("seeds", "samples", "captions", "train_images", "training_images", "training_steps"),
        *("generated_images", "real_images", "images", "prompts_cut", "participants"),
        *("view_options", "image_size", "window", "files", "leak", "model"),
    }
)
# Of a single class or frequency: of interest once the whole is understood.
DETAILS = ("class_index", "class", "frequency")
COLUMNS = (
    *("study", "metric", "train_source", "test_source", "view", "architecture", "encoder", "seed"),
    *("settings", "verdict", "difference", "difference_low", "difference_high"),
    *("first_value", "first_low", "first_high", "first_n"),
    *("second_value", "second_low", "second_high", "second_n", "differs"),
)
_NAMES = ("study", "metric", "train_source", "test_source", "view", "architecture", "encoder")


@dataclass(frozen=True)
class Pair:
    """A number of both tables."""

    first: Row
    second: Row
    difference: Interval
    """of the second less the first; its limits are NaN where either has no interval"""
    verdict: Verdict
    """of the second beside the first"""
    differs: Mapping[str, tuple[Any, Any]]
    """settings that are not the same, and `n`"""

    @property
    def clearness(self) -> float:
        """The difference in half-widths of its interval: above 1 it is clear of zero.

        It has no unit, so that a difference of accuracies can be set beside one of FIDs.
        """
        half = (self.difference.high - self.difference.low) / 2
        if math.isnan(half):
            return 0.0
        return abs(self.difference.value) / half if half > 0 else math.inf

    @property
    def is_detail(self) -> bool:
        """Whether it is of a single class or frequency."""
        return any(key in self.second.settings for key in DETAILS)


@dataclass(frozen=True)
class Compared:
    """All numbers of two tables."""

    pairs: list[Pair]
    """clear differences first, the clearest at the top"""
    only_first: list[Row]
    only_second: list[Row]


def compare(first: Iterable[Row], second: Iterable[Row], *, single_seeds: bool = False) -> Compared:
    """Match the rows of two tables by what names a number, and subtract.

    Rows are matched by all columns and by all settings; those without a match then by the settings
    that are not `DESCRIBING`, where that leaves one row on each side.

    A difference has the interval of `signed_sum`, which takes both numbers as independent. Two runs
    often share test images, and then it is rather too wide than too narrow.

    Args:
        single_seeds: also compare numbers of single training seeds.
    """
    left = [row for row in first if single_seeds or row.seed is None]
    right = [row for row in second if single_seeds or row.seed is None]
    pairs = []
    for described in (True, False):
        found, left, right = _matched(left, right, described)
        pairs += found
    order = {verdict: place for place, verdict in enumerate(("clear", "not shown", "no interval"))}

    def rank(pair: Pair) -> tuple[Any, ...]:
        place = order.get(pair.verdict, 0)
        return place, -pair.clearness, -abs(pair.difference.value), _named(pair.second, True)

    return Compared(
        sorted(pairs, key=rank),
        sorted(left, key=lambda row: _named(row, True)),
        sorted(right, key=lambda row: _named(row, True)),
    )


def _matched(
    left: Sequence[Row], right: Sequence[Row], described: bool
) -> tuple[list[Pair], list[Row], list[Row]]:
    """Pairs of rows that are the only ones of their name, and the other rows of both sides."""
    sides: list[dict[str, list[Row]]] = []
    for rows in (left, right):
        by_name: dict[str, list[Row]] = {}
        for row in rows:
            by_name.setdefault(_named(row, described), []).append(row)
        sides.append(by_name)
    mine, theirs = sides
    both = {name for name in mine if len(mine[name]) == 1 and len(theirs.get(name, [])) == 1}
    return (
        [_pair(mine[name][0], theirs[name][0]) for name in sorted(both)],
        [row for row in left if _named(row, described) not in both],
        [row for row in right if _named(row, described) not in both],
    )


def _named(row: Row, described: bool) -> str:
    """What names a number, as text; with or without what only describes it."""
    settings = row.settings if described else naming(row)
    columns = [getattr(row, name) for name in _NAMES]
    return json.dumps([*columns, row.seed, settings], sort_keys=True, default=str)


def naming(row: Row) -> dict[str, Any]:
    """The settings that tell a number from others of its table."""
    return {key: value for key, value in row.settings.items() if key not in DESCRIBING}


def _pair(first: Row, second: Row) -> Pair:
    difference = signed_sum([(1, second), (-1, first)])
    if first.ci_level != second.ci_level:
        difference = Interval(difference.value, math.nan, math.nan)
    return Pair(first, second, difference, _verdict(difference), _differs(first, second))


def _verdict(difference: Interval) -> Verdict:
    if math.isnan(difference.low):
        return "no interval"
    if difference.low > 0:
        return "higher"
    return "lower" if difference.high < 0 else "not shown"


def _differs(first: Row, second: Row) -> dict[str, tuple[Any, Any]]:
    keys = sorted(first.settings.keys() | second.settings.keys())
    found = {key: (first.settings.get(key), second.settings.get(key)) for key in keys}
    found |= {key: (getattr(first, key), getattr(second, key)) for key in ("n", "ci_level")}
    return {key: values for key, values in found.items() if values[0] != values[1]}


def counts(pairs: Iterable[Pair]) -> dict[str, dict[Verdict, int]]:
    """How many numbers of each study have which verdict."""
    found: dict[str, dict[Verdict, int]] = {}
    for pair in pairs:
        of_study = found.setdefault(pair.second.study, dict.fromkeys(VERDICTS, 0))
        of_study[pair.verdict] += 1
    return dict(sorted(found.items()))


def comparison_csv(found: Compared, labels: tuple[str, str]) -> str:
    """All of it as comma-separated values: the pairs, then what only one table has."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", restval="")
    writer.writeheader()
    for pair in found.pairs:
        values = _values("first", pair.first) | _values("second", pair.second)
        difference = dict(
            zip(("difference", "difference_low", "difference_high"), pair.difference, strict=True)
        )
        numbers = {key: "" if math.isnan(value) else value for key, value in difference.items()}
        differs = json.dumps(pair.differs, ensure_ascii=False, default=str) if pair.differs else ""
        told = {"verdict": pair.verdict, "differs": differs}
        writer.writerow(_about(pair.second) | values | numbers | told)
    for side, label, rows in zip(
        ("first", "second"), labels, (found.only_first, found.only_second), strict=True
    ):
        for row in rows:
            writer.writerow(_about(row) | _values(side, row) | {"verdict": f"only in {label}"})
    return text.getvalue()


def _about(row: Row) -> dict[str, Any]:
    settings = json.dumps(dict(row.settings), sort_keys=True, ensure_ascii=False)
    found = {name: getattr(row, name) for name in (*_NAMES, "seed")}
    return {name: "" if value is None else value for name, value in found.items()} | {
        "settings": settings
    }


def _values(side: str, row: Row) -> dict[str, Any]:
    numbers = {"value": row.value, "low": row.ci_low, "high": row.ci_high, "n": row.n}
    return {f"{side}_{key}": "" if value is None else value for key, value in numbers.items()}


def check_labels(labels: Sequence[str]) -> tuple[str, str]:
    """The two names of the tables.

    Raises:
        UserError: they are the same.
    """
    first, second = labels
    if first == second:
        raise UserError(f"two tables are compared, and both are called {first}")
    return first, second
