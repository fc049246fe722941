"""What figures and report read from the metrics table: one summary row per source and question."""

from __future__ import annotations

import csv
import datetime
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from synthgap.errors import UserError
from synthgap.metrics.table import Row, to_table

REAL = "real"
ACCURACY = "top1_accuracy"
GAP = "gap_to_real"
RELATIVE = "accuracy_relative_to_real"
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
PROMPTS = {
    "classname": "class-name prompts",
    "caption": "caption prompts",
    "aio": "“An image of …”",
    "long": "captions alone",
    "faces": "portraits",
    "images": "images from elsewhere",
}

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
    rows: Iterable[Row],
    *,
    probe: str = "rgb",
    architecture: str | None = None,
    metric: str = ACCURACY,
) -> BySource:
    """A number of real test images by training source; of an accuracy, `real` holds Real->Real.

    Args:
        metric: `ACCURACY`, or its comparison with real training images: `GAP` or `RELATIVE`.

    Raises:
        UserError: several rows for one source: name the architecture.
    """
    chosen = [r for r in _transfer(rows, metric) if r.test_source == REAL and _probe(r) == probe]
    return by_source(_of_architecture(chosen, architecture), "train_source")


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
    return by_source(_of_architecture(chosen, architecture), "test_source")


def probes(rows: Iterable[Row], metric: str = ACCURACY) -> list[str]:
    """The probes with such numbers of real test images in the table."""
    found = {_probe(r) for r in _transfer(rows, metric) if r.test_source == REAL}
    return sorted(found, key=probe_order)


def architectures(rows: Iterable[Row]) -> list[str]:
    """The probes that see whole images with a further architecture, by name."""
    found = {
        _probe(r)
        for r in _transfer(rows)
        if r.test_source == REAL and r.view == "rgb" and _probe(r) not in PROBES
    }
    return sorted(found)


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
    return by_source(chosen, "test_source")


def distinguish(rows: Iterable[Row]) -> BySource:
    """Accuracy of telling real images from a source's; `real` holds the real-against-real control.

    That of the study's first classifier.

    Raises:
        UserError: several rows for one source.
    """
    chosen = [
        r
        for r in rows
        if (r.study, r.metric, r.train_source, r.seed) == ("distinguish", ACCURACY, REAL, None)
        and (r.settings["axis"], r.settings["order"]) == ("main", 0)
        and len(r.settings["distributions"]) == 2
    ]
    return by_source(chosen, "test_source")


def by_share(rows: Iterable[Row], study: str, key: str) -> dict[str, dict[float, Row]]:
    """Accuracies of the studies `scaling` and `mixing`, by training source and rising `key`.

    Args:
        key: of the settings: `fraction` or `synthetic_ratio`; rows without it are left out.

    Raises:
        UserError: two rows for one source at the same place.
    """
    found: dict[str, dict[float, Row]] = {}
    for row in rows:
        if (row.study, row.metric, row.seed) == (study, ACCURACY, None) and key in row.settings:
            name, at = str(row.train_source), float(row.settings[key])
            if found.setdefault(name, {}).setdefault(at, row) is not row:
                raise UserError(f"metrics: two rows for {name} at {key} {at:g} in study {study}")
    return {name: dict(sorted(points.items())) for name, points in found.items()}


def by_source(rows: Iterable[Row], side: str) -> dict[str, Row]:
    """Rows by `train_source` or `test_source`.

    Raises:
        UserError: two rows for one source.
    """
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


def require(what: str, found: BySource, needed: Iterable[str]) -> None:
    """Check that the rows are there.

    Raises:
        UserError: nothing was found, or not for every needed source.
    """
    missing = [name for name in needed if name not in found]
    if missing or not found:
        raise UserError(f"metrics table: no {what} for {', '.join(missing) or 'any source'}")


def csv_text(rows: Iterable[Row]) -> str:
    """Rows as comma-separated values: the metrics table's columns, settings as JSON.

    A row that is given twice is written once; any order in, the same text out.
    """
    table = to_table({id(row): row for row in rows}.values())
    text = io.StringIO()
    writer = csv.DictWriter(text, table.column_names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table.to_pylist())
    return text.getvalue()


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


def place(source: Source) -> str:
    """The source's x as text; a release date is a year with a decimal fraction."""
    if source.x_name != "release date":
        return f"{source.x:g}"
    day = datetime.date(int(source.x), 1, 1) + datetime.timedelta(days=int(source.x % 1 * 366))
    return day.isoformat()


def _transfer(rows: Iterable[Row], metric: str = ACCURACY) -> list[Row]:
    return [r for r in rows if (r.study, r.metric, r.seed) == ("transfer", metric, None)]


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


def _synthetic_side(row: Row) -> str | None:
    sides = {row.train_source, row.test_source}
    if row.study not in ("transfer", "distinguish") or REAL not in sides or len(sides) != 2:
        return None
    if len(row.settings.get("distributions", ())) > 2:
        return None
    (name,) = sides - {REAL}
    return name


def _order(known: Iterable[str], name: str) -> tuple[int, str]:
    order = list(known)
    return (order.index(name) if name in order else len(order), name)
