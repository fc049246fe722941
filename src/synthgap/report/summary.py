"""What a finished run comes to, in a few lines for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from synthgap.live import duration, words
from synthgap.report.headlines import Headline
from synthgap.report.stages import Stage

WIDTH = 100
LABEL = 14
# So many lines of a study's answer, and so many stages, are told one by one.
MOST_FINDINGS = 4
MOST_STAGES = 4


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
