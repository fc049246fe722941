"""The page's section on study C: what could be told apart, the controls, and what files tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from synthgap.figures.comparisons import FILES, HUMAN, LINEAR, classifier_looks, comparisons, label
from synthgap.figures.data import ACCURACY
from synthgap.metrics.distinguish import BOUND, FAKE
from synthgap.metrics.table import Row
from synthgap.report import formats

MISMATCH, EDGES, BYTES = "file_mismatch", "block_edge_ratio", "file_bytes"
PARTICIPANTS = "human_participants"
# What to say of a share of images that come again, above 0.
AGAIN = {
    "share_seen_in_training": "of the test images were trained on, too",
    "share_of_several_sources": "of the images are in several sources",
}


@dataclass(frozen=True)
class Line:
    """A comparison: what each classifier reached, None where there is nothing."""

    label: str
    chance: str
    control: bool
    cells: list[Row | None]
    off: list[bool]
    """of a control, whether chance lies outside the interval"""


@dataclass(frozen=True)
class Grid:
    """A table of comparisons by classifiers."""

    classifiers: list[str]
    lines: list[Line]


@dataclass(frozen=True)
class Leak:
    """What the files of a comparison tell."""

    label: str
    view: str
    found: bool
    mismatch: Row
    files: dict[str, str]
    """by source, its kinds of files with their shares"""
    bytes_: dict[str, Row]
    edges: dict[str, Row]
    again: list[str]
    """which images come again, if any do"""


@dataclass(frozen=True)
class Realism:
    """How often classifiers take a source's images for generated."""

    source: str
    judged_by: str
    guided: bool
    cells: list[Row | None]


@dataclass(frozen=True)
class Asked:
    """A quiz for people."""

    label: str
    page: str
    """path of the quiz"""
    answers: str
    """folder that its answers are read from"""
    participants: int


@dataclass(frozen=True)
class Distinguished:
    """All that the section shows."""

    headline: str
    best: list[str]
    """for each comparison that is no control, what the best network reached"""
    accuracy: Grid
    bits: Grid
    controls: str
    alarm: bool
    leaks: list[Leak] = field(default_factory=list)
    realism: list[Realism] = field(default_factory=list)
    realism_classifiers: list[str] = field(default_factory=list)
    quizzes: list[Asked] = field(default_factory=list)


def distinguished(
    rows: Sequence[Row], quizzes: Sequence[Mapping[str, str]] = ()
) -> Distinguished | None:
    """What the table has of study C, or None.

    Args:
        quizzes: with `name` of a comparison, `page` and `answers`, see `Asked`.
    """
    of_study = [row for row in rows if row.study == "distinguish" and row.seed is None]
    main = [row for row in of_study if row.settings["axis"] == "main"]
    if not main:
        return None
    accuracy = [row for row in main if row.metric in (ACCURACY, HUMAN)]
    names = list(classifier_looks(accuracy))
    looks = {name: look.label for name, look in classifier_looks(accuracy).items()}
    everywhere = [r for r in of_study if r.metric == ACCURACY and r.settings["control"]]
    sentence, alarm = _controls(everywhere)
    realism, judges = _realism(rows)
    headline, best = _answer(accuracy)
    return Distinguished(
        headline,
        best,
        _grid(accuracy, names, looks),
        _grid([row for row in main if row.metric == BOUND], names, looks),
        sentence,
        alarm,
        _leaks(rows),
        realism,
        [looks.get(name, name) for name in judges],
        [_asked(rows, quiz) for quiz in quizzes],
    )


def _asked(rows: Sequence[Row], quiz: Mapping[str, str]) -> Asked:
    counts = [
        int(row.value)
        for row in rows
        if row.metric == PARTICIPANTS and row.settings["comparison"] == quiz["name"]
    ]
    return Asked(label(quiz["name"]), quiz["page"], quiz["answers"], sum(counts))


def _answer(rows: Sequence[Row]) -> tuple[str, list[str]]:
    """The section in a sentence, and the best network of each comparison."""
    of_networks = [
        row
        for row in rows
        if not row.settings["control"]
        and row.metric == ACCURACY
        and row.architecture not in FILES
        and not str(row.architecture).startswith(LINEAR)
    ]
    lines, told = [], []
    for comparison in comparisons(of_networks):
        found = [row for row in of_networks if row.settings["comparison"] == comparison]
        best = max(found, key=lambda row: row.value)
        above = best.ci_low is not None and best.ci_low > best.settings["chance"]
        told.append(above)
        lines.append(
            f"{label(comparison)}: {formats.number(best)} ({formats.limits(best)}) by "
            f"{best.architecture}; chance is {_percent(best.settings['chance'])}."
        )
    if not told:
        return "Nothing was compared but sources with themselves.", lines
    # Of more than two sources, accuracy above chance says that some were told, and not each.
    better = "sources were told apart better than by chance"
    if all(told):
        where = "the comparison" if len(told) == 1 else f"all {len(told)} comparisons"
        return f"Yes: in {where}, {better}.", lines
    if any(told):
        return f"In part: in {sum(told)} of {len(told)} comparisons, {better}.", lines
    return "No: nothing was told apart beyond chance.", lines


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.3g}\N{NO-BREAK SPACE}%"


def is_off_chance(row: Row) -> bool:
    """Whether chance lies outside a row's interval."""
    if row.ci_low is None or row.ci_high is None:
        return False
    return not row.ci_low <= row.settings["chance"] <= row.ci_high


def _grid(rows: Sequence[Row], names: Sequence[str], looks: Mapping[str, str]) -> Grid:
    by_place = {(row.settings["comparison"], row.architecture): row for row in rows}
    lines = []
    for comparison in comparisons(rows):
        cells = [by_place.get((comparison, name)) for name in names]
        first = next(cell for cell in cells if cell)
        control = bool(first.settings["control"])
        bits = first.metric == BOUND
        off = [bool(cell and control and not bits and is_off_chance(cell)) for cell in cells]
        chance = "0" if bits else _percent(first.settings["chance"])
        lines.append(Line(label(comparison), chance, control, cells, off))
    return Grid([looks[name] for name in names], lines)


def _controls(rows: Sequence[Row]) -> tuple[str, bool]:
    """What to say of all controls, on every axis, and whether it is alarming."""
    # The ends of axes are the main table's numbers again, maybe of fewer seeds.
    distinct = {(r.settings["comparison"], r.view, r.architecture, r.settings["train_images"]): r
                for r in sorted(rows, key=lambda r: int(r.settings.get("seeds", 1)))}  # fmt: skip
    off = [row for row in distinct.values() if is_off_chance(row)]
    total = len(distinct)
    if not total:
        return "There is no control, so nothing says that the test itself is fair.", True
    if not off:
        return f"All {total} controls have chance within their intervals.", False
    named = "; ".join(
        f"{label(row.settings['comparison'])}, view {row.view}, {row.architecture}: "
        f"{formats.number(row)} ({formats.limits(row)})"
        for row in off
    )
    expected = 0.05 * total
    text = (
        f"{len(off)} of {total} controls have chance outside their intervals ({named}). "
        f"By chance alone {expected:.1f} would be expected to."
    )
    # More than one in twenty, with room for luck: two standard deviations of a binomial.
    alarm = len(off) > expected + 2 * (total * 0.05 * 0.95) ** 0.5
    return text, alarm


def _leaks(rows: Sequence[Row]) -> list[Leak]:
    found = []
    of_study = [row for row in rows if row.study == "leaks"]
    for row in [row for row in of_study if row.metric == MISMATCH]:
        place = (row.train_source, row.test_source, row.view)
        same = [r for r in of_study if (r.train_source, r.test_source, r.view) == place]
        of = {
            metric: {r.settings["distribution"]: r for r in same if r.metric == metric}
            for metric in (BYTES, EDGES)
        }
        files = {
            source: ", ".join(
                kind if share == 1 else f"{kind} ({formats.share(share)})"
                for kind, share in kinds.items()
            )
            for source, kinds in row.settings["files"].items()
        }
        name = f"{row.train_source}+{row.test_source}"
        # In the order of the sources, which the table does not keep.
        order = name.split("+") if set(files) <= set(name.split("+")) else sorted(files)
        found.append(
            Leak(
                label(name),
                str(row.view),
                bool(row.settings["leak"]),
                row,
                {source: files[source] for source in order},
                {source: of[BYTES][source] for source in order if source in of[BYTES]},
                {source: of[EDGES][source] for source in order if source in of[EDGES]},
                [
                    f"{_percent(r.value)} {words}"
                    for metric, words in AGAIN.items()
                    for r in same
                    if r.metric == metric and r.value
                ],
            )
        )
    return sorted(found, key=lambda leak: (not leak.found, leak.label))


def _realism(rows: Sequence[Row]) -> tuple[list[Realism], list[str]]:
    chosen = [row for row in rows if row.study == "realism" and row.metric == FAKE]
    judges = sorted(
        {str(row.architecture) for row in chosen},
        key=lambda name: min(r.settings["order"] for r in chosen if r.architecture == name),
    )
    places = dict.fromkeys((row.settings["judged_by"], str(row.test_source)) for row in chosen)
    found = []
    for judged_by, source in sorted(places):
        cells = {
            r.architecture: r
            for r in chosen
            if (r.settings["judged_by"], r.test_source) == (judged_by, source)
        }
        guided = judged_by != f"real+{source}"
        found.append(
            Realism(source, label(judged_by), guided, [cells.get(name) for name in judges])
        )
    return sorted(found, key=lambda r: (r.judged_by, r.guided, r.source)), judges
