"""What each stage of a run took, by the benchmark files that Snakemake keeps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Stage:
    """What the jobs of a stage took."""

    name: str
    jobs: int
    seconds: float
    """of all jobs, one after the other"""
    longest: float = 0.0
    """of the longest job"""
    cpu_seconds: float = 0.0
    """that cores worked, all jobs together"""
    memory_mb: float = 0.0
    """of the job that took the most; 0 where none ran long enough to be looked at"""


def stages(benchmarks: Path, since: float = 0.0) -> list[Stage]:
    """Each stage, that which took the longest first.

    Args:
        since: leave out what is older, in seconds since 1970.
    """
    found: dict[str, list[dict[str, float]]] = {}
    for file in sorted(benchmarks.rglob("*.tsv")):
        measured = _measured(file) if file.stat().st_mtime >= since else {}
        if "s" in measured:
            stage = file.relative_to(benchmarks).with_suffix("").parts[0]
            found.setdefault(stage, []).append(measured)
    all_stages = [
        Stage(
            name,
            len(jobs),
            sum(job["s"] for job in jobs),
            max(job["s"] for job in jobs),
            sum(job.get("cpu_time", 0.0) for job in jobs),
            max(job.get("max_rss", 0.0) for job in jobs),
        )
        for name, jobs in found.items()
    ]
    return sorted(all_stages, key=lambda stage: (-stage.seconds, stage.name))


def _measured(file: Path) -> dict[str, float]:
    """The numbers of a job; what was not measured, or cannot be read, is left out."""
    try:
        header, values = (line.split("\t") for line in file.read_text().splitlines()[:2])
    except (OSError, ValueError):
        return {}
    found = {}
    for name, text in zip(header, values, strict=False):
        try:
            value = float(text)
        except ValueError:
            continue
        if math.isfinite(value):
            found[name] = value
    return found
