"""What figures and report read from the metrics table: one summary row per source and question."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from synthgap.errors import UserError
from synthgap.metrics.table import Row

REAL = "real"
ACCURACY = "top1_accuracy"
DISTRIBUTION = ("density", "coverage", "precision", "recall")
# In the order of drawing, with their names in words.
PROBES = {
    "rgb": "RGB",
    "structure": "structure",
    "texture": "texture",
    "low": "low frequencies",
    "band": "frequency band",
    "high": "high frequencies",
}
PROMPTS = {"classname": "class-name prompts", "caption": "caption prompts"}

BySource = Mapping[str, Row]


@dataclass(frozen=True)
class Source:
    """A synthetic source and where it stands on the x axis."""

    name: str
    generator: str
    prompts: str
    x: float
    x_name: str


def sources(rows: Iterable[Row]) -> list[Source]:
    """All synthetic sources of the studies `transfer` and `distinguish`, by x, generator, prompts.

    Raises:
        UserError: a row with a synthetic source lacks a setting, or rows of one source differ.
    """
    found: dict[str, Source] = {}
    for row in rows:
        name = _synthetic_side(row)
        if name is None:
            continue
        missing = [
            key for key in ("generator", "prompts", "x", "x_name") if key not in row.settings
        ]
        if missing:
            raise UserError(
                f"metrics: the settings of {name} ({row.study}, {row.metric}) lack {missing}"
            )
        source = Source(
            name,
            str(row.settings["generator"]),
            str(row.settings["prompts"]),
            float(row.settings["x"]),
            str(row.settings["x_name"]),
        )
        if found.setdefault(name, source) != source:
            raise UserError(f"metrics: rows of {name} disagree: {found[name]} and {source}")
    if len({source.x_name for source in found.values()}) > 1:
        raise UserError("metrics: the synthetic sources differ in x_name; one axis needs one unit")
    return sorted(found.values(), key=lambda s: (s.x, s.generator, prompts_order(s.prompts)))


def prompts_order(prompts: str) -> tuple[int, str]:
    """Sort key: class names, captions, then any other kind by name."""
    return _order(PROMPTS, prompts)


def prompt_title(prompts: str) -> str:
    """A kind of prompt in words."""
    return PROMPTS.get(prompts, f"{prompts} prompts")


def probe_order(probe: str) -> tuple[int, str]:
    """Sort key: RGB first, then structure, texture and the frequency bands."""
    return _order(PROBES, probe)


def prompt_kinds(found: Iterable[Source]) -> list[str]:
    """The kinds of prompt among these sources, in drawing order."""
    return sorted({source.prompts for source in found}, key=prompts_order)


def pairs(found: Iterable[Source]) -> list[list[Source]]:
    """Sources of the same generator, in drawing order of their prompts."""
    generators: dict[str, list[Source]] = {}
    for source in found:
        generators.setdefault(source.generator, []).append(source)
    return list(generators.values())


def synth_to_real(
    rows: Iterable[Row], *, probe: str = "rgb", architecture: str | None = None
) -> BySource:
    """Accuracy on real test images by training source; `real` holds Real->Real.

    Raises:
        UserError: several rows for one source: name the architecture.
    """
    chosen = [r for r in _transfer(rows) if r.test_source == REAL and _probe(r) == probe]
    return _by_source(_of_architecture(chosen, architecture), "train_source")


def real_to_synth(rows: Iterable[Row], *, architecture: str | None = None) -> BySource:
    """Accuracy of the classifier trained on real RGB images, by synthetic test source.

    Raises:
        UserError: several rows for one source: name the architecture.
    """
    chosen = [
        r
        for r in _transfer(rows)
        if r.train_source == REAL and r.test_source != REAL and _probe(r) == "rgb"
    ]
    return _by_source(_of_architecture(chosen, architecture), "test_source")


def probes(rows: Iterable[Row]) -> list[str]:
    """The probes with Synth->Real accuracies in the table."""
    found = {_probe(r) for r in _transfer(rows) if r.test_source == REAL}
    return sorted(found, key=probe_order)


def distribution(rows: Iterable[Row], metric: str, *, name: str | None = None) -> BySource:
    """Density, coverage, precision or recall by test source; `real`: real test against real train.

    Args:
        metric: one of `DISTRIBUTION`.
        name: of the config's `distributions`; needed when the table holds several.

    Raises:
        UserError: several rows for one source: name the distribution.
    """
    chosen = [
        row
        for row in rows
        if row.study == "transfer"
        and re.match(rf"{metric}_k\d+_", row.metric)
        and row.train_source == REAL
        and row.seed is None
        and name in (None, row.settings.get("distribution"))
    ]
    return _by_source(chosen, "test_source")


def distinguish(rows: Iterable[Row], *, view: str | None = None) -> BySource:
    """Accuracy of telling real images from a source's; `real` holds the real-against-real control.

    `view` chooses where a table holds several.

    Raises:
        UserError: several rows for one source.
    """
    chosen = [
        r
        for r in rows
        if (r.study, r.metric, r.train_source, r.seed) == ("distinguish", ACCURACY, REAL, None)
        and view in (r.view, None)
    ]
    return _by_source(chosen, "test_source")


def require(what: str, found: BySource, needed: Iterable[str]) -> None:
    """Check that the rows are there.

    Raises:
        UserError: nothing was found, or not for every needed source.
    """
    missing = [name for name in needed if name not in found]
    if missing or not found:
        raise UserError(f"metrics table: no {what} for {', '.join(missing) or 'any source'}")


def require_sources(found: list[Source]) -> None:
    """Check that there is something to draw.

    Raises:
        UserError: no synthetic source.
    """
    if not found:
        raise UserError("metrics table: no rows with a synthetic source to draw")


def x_title(found: list[Source]) -> str:
    """The x axis in words."""
    name = found[0].x_name
    return f"{name[:1].upper()}{name[1:]} of the generator"


def _transfer(rows: Iterable[Row]) -> list[Row]:
    return [r for r in rows if (r.study, r.metric, r.seed) == ("transfer", ACCURACY, None)]


def _probe(row: Row) -> str:
    if "probe" not in row.settings:
        raise UserError(
            f"metrics: the settings of {row.train_source} -> {row.test_source} "
            f"(view {row.view}) lack 'probe'"
        )
    return str(row.settings["probe"])


def _of_architecture(rows: list[Row], architecture: str | None) -> list[Row]:
    """Only those of the architecture, if it has any: the texture probe is always a BagNet."""
    return [r for r in rows if r.architecture == architecture] or rows


def _by_source(rows: Iterable[Row], side: str) -> dict[str, Row]:
    found: dict[str, Row] = {}
    for row in rows:
        other = found.setdefault(getattr(row, side), row)
        if other is not row:
            differ = {
                name: (getattr(other, name), getattr(row, name))
                for name in ("metric", "view", "architecture", "encoder", "settings")
                if getattr(other, name) != getattr(row, name)
            }
            raise UserError(
                f"metrics: two rows for {row.metric} of {getattr(row, side)}; choose one: {differ}"
            )
    return found


def _synthetic_side(row: Row) -> str | None:
    sides = {row.train_source, row.test_source}
    if row.study not in ("transfer", "distinguish") or REAL not in sides or len(sides) != 2:
        return None
    (name,) = sides - {REAL}
    return name


def _order(known: Iterable[str], name: str) -> tuple[int, str]:
    order = list(known)
    return (order.index(name) if name in order else len(order), name)
