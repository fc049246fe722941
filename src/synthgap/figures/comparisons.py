"""What the figures of study C share: comparisons by name, in an order, each with a look."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from synthgap.errors import UserError
from synthgap.figures import matplotlib_style as style
from synthgap.figures.data import ACCURACY, REAL
from synthgap.metrics.table import Row

LINEAR = "linear-"
FILES = {"headers": ("file headers (control)", "x"), "metadata": ("files' lengths", "+")}
PEOPLE = "people"
HUMAN = "human_accuracy"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def rows_on(rows: Iterable[Row], axis: str, metric: str = ACCURACY) -> list[Row]:
    """Rows of study C over all seeds, on one axis: `main`, `views` or `samples`.

    Raises:
        UserError: there are none.
    """
    found = [
        row
        for row in rows
        if row.study == "distinguish"
        and row.seed is None
        and (row.metric == metric or (row.metric, metric) == (HUMAN, ACCURACY))
        and row.settings.get("axis") == axis
    ]
    if not found:
        raise UserError(f"metrics table: no {metric} of the study distinguish ({axis}) to draw")
    return found


def comparisons(rows: Iterable[Row]) -> list[str]:
    """Names of comparisons: with real images first, the larger later, the controls last."""
    seen = {row.settings["comparison"]: row for row in rows}

    def order(name: str) -> tuple[bool, int, bool, str]:
        row = seen[name]
        sources = row.settings["distributions"]
        return row.settings["control"], len(sources), REAL not in sources, name

    return sorted(seen, key=order)


def label(comparison: str) -> str:
    """A comparison in words."""
    sources = comparison.split("+")
    if len(set(sources)) == 1:
        return f"{sources[0]} against itself (control)"
    return " | ".join(sources)


@dataclass(frozen=True)
class Look:
    """How a series is drawn."""

    label: str
    colour: str
    marker: str
    hollow: bool = False


def classifier_looks(rows: Iterable[Row]) -> dict[str, Look]:
    """Looks of classifiers by name, in the study's order: networks, probes, people, files."""
    places = {str(row.architecture): int(row.settings.get("order", 0)) for row in rows}

    def order(name: str) -> tuple[int, int, str]:
        kind = [name.startswith(LINEAR), name == PEOPLE, name in FILES]
        return (1 + kind.index(True) if any(kind) else 0), places[name], name

    looks = {}
    for number, name in enumerate(sorted(places, key=order)):
        if name in FILES:
            looks[name] = Look(FILES[name][0], style.MUTED, FILES[name][1])
        elif name == PEOPLE:
            looks[name] = Look("people", style.INK, "*")
        else:
            colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
            linear = name.startswith(LINEAR)
            words = f"linear probe of {name.removeprefix(LINEAR)}" if linear else name
            looks[name] = Look(words, colour, marker, linear)
    return looks


def comparison_looks(names: Sequence[str]) -> dict[str, Look]:
    """Looks of comparisons by name; controls are grey."""
    looks, number = {}, 0
    for name in names:
        if len(set(name.split("+"))) == 1:
            looks[name] = Look(label(name), style.MUTED, "o", hollow=True)
        else:
            looks[name] = Look(label(name), COLOURS[number % len(COLOURS)], "o")
            number += 1
    return looks
