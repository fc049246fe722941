"""What a finished run comes to, in a few lines for a terminal."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from synthgap.errors import UserError
from synthgap.figures import data
from synthgap.live import benchmark_seconds, duration, words
from synthgap.metrics.table import Row
from synthgap.report import formats
from synthgap.report.answer import Comparison, answer
from synthgap.report.casd import casd
from synthgap.report.distinguish import distinguished
from synthgap.report.text_to_image import text_to_image

WIDTH = 100
LABEL = 14
# So many lines of a study's answer, and so many stages, are told one by one.
MOST_FINDINGS = 4
MOST_STAGES = 4


@dataclass(frozen=True)
class Stage:
    """What the jobs of a stage took."""

    name: str
    jobs: int
    seconds: float


@dataclass(frozen=True)
class Headline:
    """A study's question, and what its numbers say."""

    question: str
    answer: str
    findings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Made:
    """What lies in the results folder."""

    images: Mapping[str, int]
    """by kind of source"""
    classifiers: int
    models: int
    numbers: int


def made(results: Path, sources: Mapping[str, Iterable[str]]) -> Made:
    """Count what there is in a results folder.

    Args:
        sources: by kind, such as "real".
    """
    images = {
        kind: sum(_images(results / "images" / source) for source in names)
        for kind, names in sources.items()
    }
    weights = (results / "classifiers").rglob("seed-*.safetensors")
    table = results / "metrics.parquet"
    return Made(
        {kind: count for kind, count in images.items() if count},
        sum(not path.name.endswith(".last.safetensors") for path in weights),
        len(list((results / "models").glob("*.history.parquet"))),
        pq.read_metadata(table).num_rows if table.exists() else 0,
    )


def _images(folder: Path) -> int:
    """Images of a source as they were made, without those that failed."""
    count = 0
    for split in sorted(folder.glob("*/rgb")):
        whole = split / "manifest.parquet"
        for path in [whole] if whole.exists() else sorted(split.glob("[0-9]*.parquet")):
            status = pq.read_table(path, columns=["status"])["status"]
            count += pc.sum(pc.equal(status, "ok")).as_py() or 0
    return count


def stages(benchmarks: Path, since: float = 0.0) -> list[Stage]:
    """What each stage took, the longest first, by the benchmark files that Snakemake keeps.

    Args:
        since: leave out what is older, in seconds since 1970.
    """
    found: dict[str, list[float]] = {}
    for file in sorted(benchmarks.rglob("*.tsv")):
        seconds = benchmark_seconds(file) if file.stat().st_mtime >= since else None
        if seconds is not None:
            stage = file.relative_to(benchmarks).with_suffix("").parts[0]
            found.setdefault(stage, []).append(seconds)
    all_stages = [Stage(name, len(each), sum(each)) for name, each in found.items()]
    return sorted(all_stages, key=lambda stage: (-stage.seconds, stage.name))


def headlines(rows: Sequence[Row]) -> list[Headline]:
    """What the page says at its top and in its sections, a headline for each study."""
    tellers: list[Callable[[Sequence[Row]], Headline | None]] = [
        _transfer,
        _distinguish,
        _text_to_image,
        _casd,
    ]
    found = []
    for tell in tellers:
        try:
            headline = tell(rows)
        except (UserError, KeyError):
            continue  # the page says what is wrong with the table
        if headline:
            found.append(headline)
    return found


def _transfer(rows: Sequence[Row]) -> Headline | None:
    accuracy = data.synth_to_real(rows)
    found = answer(data.sources(rows), accuracy)
    if found is None:
        return None
    findings = [_compared(comparison) for comparison in found.comparisons]
    real = accuracy.get(data.REAL)
    if real:
        findings.append(f"Real training images reach {formats.number(real)}.")
    return Headline(found.question, found.headline, findings)


def _compared(of: Comparison) -> str:
    difference = f"{formats.points(of.difference)} points"
    if not math.isnan(of.low):
        difference += f" ({formats.points(of.low)} to {formats.points(of.high)})"
    return (
        f"With {data.prompt_title(of.prompts)}: {formats.number(of.last_row)} on real images after "
        f"{of.last.generator}, {formats.number(of.first_row)} after {of.first.generator}: "
        f"{difference}."
    )


def _distinguish(rows: Sequence[Row]) -> Headline | None:
    found = distinguished(rows)
    question = "Can classifiers tell generated images from real ones?"
    return Headline(question, found.headline, found.best) if found else None


def _text_to_image(rows: Sequence[Row]) -> Headline | None:
    found = text_to_image(rows)
    question = "What do captions and augmentation make of text-to-image models?"
    return Headline(question, found.headline) if found else None


def _casd(rows: Sequence[Row]) -> Headline | None:
    found = casd(rows)
    if not found:
        return None
    findings = [f"{p.arm}, {p.title.lower()}: {p.answer}, {p.sentence}." for p in found.principles]
    return Headline("Do synthetic images help a diffusion model?", found.headline, findings)


def summary(
    jobs: int,
    seconds: float,
    there: Made,
    found: Sequence[Headline],
    took: Sequence[Stage],
    report: Path,
    hint: str,
) -> str:
    """The summary of a run that a report was asked of.

    Args:
        jobs: of this run.
        seconds: that this run took.
        took: of all jobs of these results.
    """
    lines = ["", f"Done: {_counted(jobs, 'job')} in {duration(seconds)}.", ""]
    images = [f"{count:,} {kind}" for kind, count in there.images.items()]
    trained = [_counted(there.classifiers, "classifier")] if there.classifiers else []
    trained += [_counted(there.models, "image model")] if there.models else []
    lines += _labelled("images", ", ".join(images))
    lines += _labelled("trained", ", ".join(trained))
    lines += _labelled("numbers", f"{there.numbers:,} in metrics.parquet" if there.numbers else "")
    lines += _labelled("time", _times(took))
    for one in found:
        lines += ["", *_wrapped(one.question, ""), *_wrapped(one.answer, "  ")]
        # With several studies on the page, each in brief.
        told = one.findings[: MOST_FINDINGS if len(found) == 1 else 2]
        lines += [line for text in told for line in _wrapped(f"- {text}", "  ", "    ")]
    # A path with spaces or beyond the width stays whole, so that a terminal can open it.
    lines += ["", f"{'The report':<{LABEL}}{report.resolve().as_uri()}"]
    lines += _labelled("Next", hint)
    return "\n".join(lines)


def short_summary(jobs: int, seconds: float, took: Sequence[Stage]) -> str:
    """The same of a run that made something short of a report.

    Args:
        took: of this run's jobs.
    """
    done = f"Done: {_counted(jobs, 'job')} in {duration(seconds)}."
    return "\n".join(["", done, *_labelled("time", _times(took))])


def _times(took: Sequence[Stage]) -> str:
    """Time by stage: the longest ones, the others together, and all."""
    if not took:
        return ""
    first, others = took[:MOST_STAGES], took[MOST_STAGES:]
    parts = [f"{words(stage.name)} {duration(stage.seconds)}" for stage in first]
    if others:
        rest = duration(sum(stage.seconds for stage in others))
        parts.append(f"{_counted(len(others), 'other stage')} {rest}")
    whole = sum(stage.seconds for stage in took)
    jobs = _counted(sum(stage.jobs for stage in took), "job")
    return f"{', '.join(parts)}; together {duration(whole)} of {jobs}"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _labelled(label: str, text: str) -> list[str]:
    return _wrapped(f"{label:<{LABEL}}{text}", "", " " * LABEL) if text else []


def _wrapped(text: str, indent: str, further: str | None = None) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent if further is None else further,
        break_long_words=False,
        break_on_hyphens=False,
    )
