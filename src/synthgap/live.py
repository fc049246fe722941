"""How far a run is, in one line: jobs done, what is at work, images a second, time left.

It knows no Snakemake. Whoever runs the jobs tells it what happens, as the package
`snakemake_logger_plugin_synthgap` does, and it says what to show. Light, as every process of
Snakemake imports that.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

UNKNOWN = "?"
MINUTE = 60.0
# Of a stage with so many finished jobs, what earlier runs took is of no interest any more.
ENOUGH = 3
# Time left is told once so much of the remaining jobs is of stages whose duration is known.
KNOWN_SHARE = 0.5
SECONDS_BETWEEN_LINES = 30.0
# A log also hears of a run in which nothing moves.
SECONDS_WITHOUT_PROGRESS = 600.0

# Of images as they are made: views of them come hundreds of times faster.
_FACTS_OF_IMAGES = re.compile(r"(^|/)images/([^/]+/[^/]+/rgb/)?\d{5}\.json$")


@dataclass(frozen=True)
class Left:
    """Time until the end of a run."""

    seconds: float
    at_least: bool
    """whether there are more jobs, of whose duration nothing is known yet"""

    def __str__(self) -> str:
        return f"{'> ' if self.at_least else ''}{duration(self.seconds)} left"


@dataclass(frozen=True)
class _Job:
    stage: str
    began: float


class Run:
    """What is known of a run while it goes on.

    A stage is what a rule makes; the run's target counts as a job, as in Snakemake's own numbers.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._planned: dict[str, int] = {}
        self._done = self._total = 0
        self._failed = 0
        self._running: dict[object, _Job] = {}
        self._finished: Counter[str] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._earlier: Mapping[str, Sequence[float]] = {}
        self._images: deque[tuple[float, int]] = deque()
        self._longest_image_job = 0.0
        self._first_image_job: float | None = None
        self._began: float | None = None

    @property
    def done(self) -> int:
        """Jobs finished."""
        return self._done

    @property
    def total(self) -> int:
        """All jobs of this run."""
        return self._total

    @property
    def stages(self) -> list[str]:
        """All stages of this run."""
        return list(self._planned)

    @property
    def percent(self) -> int:
        """Share of the jobs that is finished, rounded down: 100 is the end."""
        return 100 * self._done // self._total if self._total else 0

    def plan(self, jobs: Mapping[str, int]) -> None:
        """Note how many jobs each stage has."""
        self._planned = dict(jobs)
        self._total = sum(jobs.values())

    def remember(self, seconds: Mapping[str, Sequence[float]]) -> None:
        """Note what jobs of each stage took in earlier runs."""
        self._earlier = seconds

    def begin(self, job: object, stage: str) -> None:
        """Note that a job is at work, or waits in a cluster's queue."""
        now = self._clock()
        self._began = now if self._began is None else self._began
        self._running[job] = _Job(stage, now)

    def end(self, job: object, images: int = 0) -> str | None:
        """Note that a job has finished.

        Args:
            images: that it made.

        Returns:
            The stage, if this was its last job.
        """
        begun = self._running.pop(job, None)
        if begun is None:
            return None
        now = self._clock()
        self._done += 1
        self._finished[begun.stage] += 1
        self._seconds[begun.stage] += now - begun.began
        if images:
            if self._first_image_job is None or begun.began < self._first_image_job:
                self._first_image_job = begun.began
            self._longest_image_job = max(self._longest_image_job, now - begun.began)
            self._images.append((now, images))
        last = self._finished[begun.stage] == self._planned.get(begun.stage)
        return begun.stage if last else None

    def fail(self, job: object) -> None:
        """Note that a job has failed; it may begin again."""
        if self._running.pop(job, None) is not None:
            self._failed += 1

    def count(self, done: int, total: int) -> None:
        """Correct the numbers of jobs by those of who runs them."""
        self._done, self._total = done, total

    def images_per_second(self) -> float | None:
        """Speed of making images, None where none were made lately.

        It is that of the last minute, or where a job takes longer, of that time, as the images of a
        job are known when it ends.
        """
        now = self._clock()
        window = max(MINUTE, self._longest_image_job)
        while self._images and now - self._images[0][0] >= window:
            self._images.popleft()
        if not self._images or self._first_image_job is None:
            return None
        over = min(window, now - self._first_image_job)
        return sum(images for _, images in self._images) / over if over > 0 else None

    def left(self) -> Left | None:
        """Time left, None as long as too little is known of what remains.

        The work that remains, by the mean duration of each stage's jobs, is divided by how many
        jobs were at work at a time so far.
        """
        now = self._clock()
        if self._began is None or now <= self._began:
            return None
        elapsed = now - self._began
        running = Counter(job.stage for job in self._running.values())
        known = unknown = 0
        work = longest = 0.0
        for stage in self._planned.keys() | running.keys():
            remaining = max(self._planned.get(stage, 0) - self._finished[stage], running[stage])
            if not remaining:
                continue
            mean = self._mean(stage)
            if mean is None:
                unknown += remaining
                continue
            known += remaining
            work += mean * (remaining - running[stage])
            longest = mean if remaining > running[stage] and mean > longest else longest
        for job in self._running.values():
            mean = self._mean(job.stage)
            if mean is not None:
                rest = max(0.0, mean - (now - job.began))
                work += rest
                longest = max(longest, rest)
        if not known + unknown:
            return Left(0.0, False)
        if known < KNOWN_SHARE * (known + unknown):
            return None
        busy = sum(self._seconds.values()) + sum(now - j.began for j in self._running.values())
        at_a_time = max(1.0, busy / elapsed)
        # The one job more is the target, which takes no time.
        return Left(max(longest, work / at_a_time), at_least=unknown > 1)

    def _mean(self, stage: str) -> float | None:
        """Mean duration of a stage's jobs: of this run, and of earlier ones where it had few."""
        here, seconds = self._finished[stage], self._seconds[stage]
        if here >= ENOUGH:
            return seconds / here
        earlier = self._earlier.get(stage, ())
        if not here + len(earlier):
            return None
        return (seconds + sum(earlier)) / (here + len(earlier))

    def line(self, width: int) -> str:
        """The run in one line of at most `width` characters; what matters least goes first."""
        done = f"{self._done}/{self._total} jobs {self.percent} %"
        failed = f"{self._failed} failed" if self._failed else ""
        left = str(self.left() or f"{UNKNOWN} left")
        stages = ", ".join(self._at_work())
        speed = self.images_per_second()
        images = f"{rate(speed)} images/s" if speed else ""
        for parts in ([done, failed, images, left], [done, failed, left], [done, left], [done]):
            line = " · ".join(part for part in parts if part)
            if len(line) <= width:
                break
        room = width - len(line) - 3
        if stages and room >= min(len(stages), 12):
            line += f" · {stages if len(stages) <= room else stages[: room - 1] + '…'}"
        return line[:width]

    def _at_work(self) -> list[str]:
        """The stages at work, with the number of their jobs."""
        running = Counter(job.stage for job in self._running.values())
        return [
            words(stage) + (f" ×{jobs}" if jobs > 1 else "")
            for stage, jobs in sorted(running.items(), key=lambda item: (-item[1], item[0]))
        ]


class Lines:
    """When a log, which keeps every line, gets one more.

    At most one each half minute, and then only if another percent of the jobs is done or ten
    minutes have gone by; besides, one for each stage that is finished.
    """

    def __init__(self, run: Run, width: int = 100, clock: Callable[[], float] = time.monotonic):
        self._run, self._width, self._clock = run, width, clock
        self._last = clock()
        self._percent = 0

    def due(self, finished: str | None = None) -> str | None:
        """The line to write now, if any.

        Args:
            finished: a stage that has just come to its end.
        """
        since = self._clock() - self._last
        moved = self._run.percent > self._percent
        if finished:
            line = f"{words(finished)}: done · {self._run.line(self._width)}"[: self._width]
        elif since >= SECONDS_WITHOUT_PROGRESS or (since >= SECONDS_BETWEEN_LINES and moved):
            line = self._run.line(self._width)
        else:
            return None
        self._last, self._percent = self._clock(), self._run.percent
        return line


def words(stage: str) -> str:
    """A stage's name for people: `train_classifier` -> "train classifier"."""
    return stage.replace("_", " ")


def rate(per_second: float) -> str:
    """A speed with as many digits as say something."""
    if per_second >= 10:
        return f"{per_second:,.0f}"
    return f"{per_second:.1f}" if per_second >= 1 else f"{per_second:.2g}"


def duration(seconds: float) -> str:
    """A time in at most two units: "42 s", "6 min", "2 h 05 min", "3 d 4 h"."""
    minutes = round(seconds / 60)
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02} min"
    return f"{hours // 24} d {hours % 24} h"


def images_made(outputs: Iterable[str]) -> int:
    """How many images a job made, by the facts that jobs of shards write beside these."""
    made = 0
    for path in outputs:
        if _FACTS_OF_IMAGES.search(path):
            try:
                made += int(json.loads(Path(path).read_text())["images"])
            except (OSError, ValueError, KeyError, TypeError):
                continue  # a number less on the screen and no more
    return made


def earlier_seconds(
    benchmarks: Path, stages: Iterable[str], most: int = 50
) -> dict[str, list[float]]:
    """What jobs of each stage took, by the benchmark files that Snakemake keeps of each.

    Args:
        benchmarks: folder with a file or a folder for each stage.
        most: so many files are read of each, as a study can have tens of thousands.
    """
    found = {}
    for stage in stages:
        single = benchmarks / f"{stage}.tsv"
        files = [single] if single.is_file() else (benchmarks / stage).rglob("*.tsv")
        seconds = [s for file in islice(files, most) if (s := benchmark_seconds(file)) is not None]
        if seconds:
            found[stage] = seconds
    return found


def benchmark_seconds(file: Path) -> float | None:
    """Seconds that a job took, by its benchmark file."""
    try:
        header, values = (line.split("\t") for line in file.read_text().splitlines()[:2])
        return float(dict(zip(header, values, strict=True))["s"])
    except (OSError, ValueError, KeyError):
        return None


def benchmarks_folder(benchmark: str, stage: str) -> Path | None:
    """The folder of all benchmarks, by the path of the benchmark of one job of a stage."""
    path = Path(benchmark)
    if path.stem == stage:
        return path.parent
    return next((parent.parent for parent in path.parents if parent.name == stage), None)
