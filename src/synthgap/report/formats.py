"""Numbers and dates as the page writes them."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence

from synthgap.figures.data import Source
from synthgap.metrics.table import Row


def number(row: Row, percent: bool = True, digits: int = 2) -> str:
    """A row's value."""
    if percent:
        return f"{100 * row.value:.1f}\N{NO-BREAK SPACE}%"
    return minus(f"{row.value:,.{digits}f}")


def share(fraction: float) -> str:
    """A fraction in percent."""
    return f"{100 * fraction:.0f}\N{NO-BREAK SPACE}%"


def limits(row: Row, percent: bool = True, digits: int = 2) -> str:
    """A row's interval, or nothing where it has none."""
    if row.ci_low is None or row.ci_high is None:
        return ""
    if percent:
        return f"{100 * row.ci_low:.1f} – {100 * row.ci_high:.1f}"
    low, high = (minus(f"{limit:,.{digits}f}") for limit in (row.ci_low, row.ci_high))
    # A dash would read as one sign more.
    return f"{low} to {high}" if row.ci_low < 0 else f"{low} – {high}"


def minus(text: str) -> str:
    """Hyphens as minus signs; none before a zero."""
    if not any(digit in text for digit in "123456789"):
        text = text.lstrip("-")
    return text.replace("-", "−")


def points(fraction: float) -> str:
    """A difference of accuracies in percentage points, with its sign."""
    return "unknown" if math.isnan(fraction) else minus(f"{100 * fraction:+.1f}")


def correlation(value: float) -> str:
    """A correlation with its sign."""
    return "unknown" if math.isnan(value) else minus(f"{value:+.2f}")


def place(source: Source) -> str:
    """The source's x in words; a release date is a year with a decimal fraction."""
    if source.x_name != "release date":
        return f"{source.x_name} {source.x:g}"
    day = datetime.date(int(source.x), 1, 1) + datetime.timedelta(days=int(source.x % 1 * 366))
    return f"released {day.isoformat()}"


def sentence(words: str) -> str:
    """With its first letter large."""
    return words[:1].upper() + words[1:]


def listed(words: Sequence[str]) -> str:
    """`a, b and c`."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
