"""What Snakemake shows of a run: one live line on a terminal, few plain lines elsewhere.

Snakemake finds this package by its name and imports it in every process, jobs included, so it
imports little. Only the process that runs the workflow makes the handler; jobs log as they always
did. What the line says is made in `synthgap.live`.
"""

import logging
import os
import sys
import threading
from collections.abc import Collection
from dataclasses import dataclass, field
from logging import LogRecord
from typing import Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.settings import LogHandlerSettingsBase

from snakemake_logger_plugin_synthgap.screen import Screen
from synthgap import live

STYLES = ("auto", "line", "plain", "snakemake")
SECONDS_BETWEEN_LOOKS = 1.0
# Runs of these alone make no file, and what they print is what was asked for.
TOLD_AT_ONCE = {"plan"}
# What the line says already, or what nobody needs to know. All of it is in Snakemake's log file.
EVENTS_LEFT_OUT = {
    LogEvent.WORKFLOW_STARTED,
    LogEvent.RESOURCES_INFO,
    LogEvent.RUN_INFO,
    LogEvent.JOB_STARTED,
    LogEvent.JOB_INFO,
    LogEvent.GROUP_INFO,
    LogEvent.JOB_FINISHED,
    LogEvent.PROGRESS,
}
WORDS_LEFT_OUT = (
    "Assuming unrestricted shared filesystem usage.",
    "Building DAG of jobs...",
    "Using shell: ",
    "Group jobs: inactive",
    "Conda environments: ignored",
    "Singularity containers: ignored",
    # Of each job.
    "Activating conda environment: ",
    "Activating singularity image ",
    "Select jobs to execute...",
    "Job rate limit reached",
    "SLURM run ID: ",
)
SUBMITTED = "has been submitted with SLURM jobid"
# Behind a run that came to its end, whose summary has all that matters.
WORDS_AT_THE_END = ("Complete log(s): ", "Elapsed time: ")


# Snakemake reads the types of its fields, which must be types and no strings.
@dataclass
class LogHandlerSettings(LogHandlerSettingsBase):
    """Options that Snakemake's command line gets: `--logger-synthgap-style`."""

    style: str = field(
        default="auto",
        metadata={
            "help": "How a run is shown: one live line on a terminal and few plain lines elsewhere "
            "(auto), one of both (line, plain), or as Snakemake does by itself (snakemake).",
            "choices": STYLES,
        },
    )


class LogHandler(LogHandlerBase):
    """Shows how far the run is, with errors and messages in their usual form above it."""

    def __post_init__(self) -> None:
        common = self.common_settings
        stream = sys.stdout if common.stdout else sys.stderr
        style = self.settings.style if isinstance(self.settings, LogHandlerSettings) else "auto"
        if style == "auto":
            style = "line" if stream.isatty() and os.environ.get("TERM") != "dumb" else "plain"
        # Who wants to see more, or nothing at all, gets what Snakemake has for that.
        if common.dryrun or common.verbose or common.debug_dag or _without_progress(common.quiet):
            style = "snakemake"
        self._as_usual = style == "snakemake"
        self._usual = _usual_handler(common, stream)
        self._screen = Screen(stream, live=style == "line")
        self._run = live.Run()
        self._lines = live.Lines(self._run)
        self._jobs: dict[Any, LogRecord] = {}
        self._held: list[LogRecord] = []
        self._started = self._planned = self._knows_earlier = False
        self._guard = threading.RLock()
        self._over = threading.Event()

    @property
    def writes_to_stream(self) -> bool:
        """It takes the place of the handler that writes to the terminal."""
        return True

    @property
    def writes_to_file(self) -> bool:
        """It writes no file; Snakemake's own log has everything."""
        return False

    @property
    def has_filter(self) -> bool:
        """All records are needed to follow the run; what is shown is filtered as usual."""
        return True

    @property
    def has_formatter(self) -> bool:
        """Records are shown by Snakemake's own handler."""
        return True

    @property
    def needs_rulegraph(self) -> bool:
        """Numbers of jobs are enough."""
        return False

    def emit(self, record: LogRecord) -> None:
        """Take note of what a record tells, and show it where the line does not."""
        # Snakemake calls this in a thread of its own, which must not end.
        try:
            with self._guard:
                if self._as_usual:
                    self._usual.handle(record)
                else:
                    self._follow(record)
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Leave the terminal as it was."""
        with self._guard:
            if not self._over.is_set():
                self._over.set()
                if not self._started:
                    self._show_held()
                self._screen.end()
        super().close()

    def _follow(self, record: LogRecord) -> None:
        event = getattr(record, "event", None)
        finished = None
        if event == LogEvent.WORKFLOW_STARTED:
            self._start()
        elif event == LogEvent.RUN_INFO:
            stats = dict(getattr(record, "stats", {}))
            stats.pop("total", None)
            if stats.keys() <= TOLD_AT_ONCE:
                self._give_up(record)
                return
            self._held.clear()
            self._planned = True
            self._run.plan(stats)
        elif event == LogEvent.JOB_INFO:
            self._begin(record)
        elif event == LogEvent.JOB_FINISHED:
            finished = self._end(record)
        elif event == LogEvent.PROGRESS:
            self._run.count(int(getattr(record, "done", 0)), int(getattr(record, "total", 0)))
        elif event == LogEvent.JOB_ERROR:
            self._run.fail(getattr(record, "jobid", None))
        if not (_is_left_out(record) or (self._all_done and _is_last(record))):
            if not self._started:
                self._show_held()
            self._show(record)
        elif not self._planned:
            self._held.append(record)
        self._tell(finished)

    @property
    def _all_done(self) -> bool:
        return self._planned and self._run.done >= self._run.total

    def _start(self) -> None:
        """From here on jobs may write to the terminal, too."""
        self._started = True
        self._screen.begin()
        threading.Thread(target=self._look, name="live line", daemon=True).start()

    def _give_up(self, record: LogRecord) -> None:
        """Show what was held back, and all that comes as usual."""
        self._as_usual = True
        # Without a line, but in use: jobs that began before this was read write to its pipe.
        self._screen.draw("")
        self._held.append(record)
        self._show_held()

    def _begin(self, record: LogRecord) -> None:
        job, stage = getattr(record, "jobid", None), str(getattr(record, "rule_name", ""))
        self._jobs[job] = record
        self._run.begin(job, stage)
        benchmark = getattr(record, "benchmark", None)
        if benchmark and not self._knows_earlier:
            self._knows_earlier = True
            folder = live.benchmarks_folder(str(benchmark), stage)
            if folder:
                self._run.remember(live.earlier_seconds(folder, self._run.stages))

    def _end(self, record: LogRecord) -> str | None:
        job = getattr(record, "job_id", None)
        begun = self._jobs.pop(job, None)
        outputs = [str(path) for path in getattr(begun, "output", None) or ()]
        return self._run.end(job, live.images_made(outputs))

    def _show(self, record: LogRecord) -> None:
        if not self._usual.filter(record):
            return
        with self._screen.above() as stream:
            if isinstance(self._usual, logging.StreamHandler):
                self._usual.stream = stream
            self._usual.handle(record)

    def _show_held(self) -> None:
        held, self._held = self._held, []
        for record in held:
            self._show(record)

    def _look(self) -> None:
        """Let time go on where nothing happens."""
        while not self._over.wait(SECONDS_BETWEEN_LOOKS):
            with self._guard:
                if self._as_usual or self._over.is_set():
                    return
                self._tell()

    def _tell(self, finished: str | None = None) -> None:
        if self._screen.live and self._started and not self._over.is_set():
            self._screen.draw("" if self._all_done else self._now)
        elif self._planned and not self._screen.live and (line := self._lines.due(finished)):
            with self._screen.above() as stream:
                print(line, file=stream, flush=True)

    def _now(self, width: int) -> str:
        return self._run.line(width) if self._planned else "looking what there is to do"[:width]


def _without_progress(quiet: Collection[Any] | None) -> bool:
    return any(str(what).lower().rpartition(".")[2] in ("progress", "all") for what in quiet or ())


def _is_left_out(record: LogRecord) -> bool:
    if record.levelno >= logging.WARNING:
        return False
    event = getattr(record, "event", None)
    if event is not None:
        return event in EVENTS_LEFT_OUT
    text = str(record.msg)
    return text.startswith(WORDS_LEFT_OUT) or SUBMITTED in text


def _is_last(record: LogRecord) -> bool:
    return record.levelno < logging.WARNING and str(record.msg).startswith(WORDS_AT_THE_END)


def _usual_handler(common: Any, stream: Any) -> logging.Handler:
    """Snakemake's own handler for terminals, as it makes it where there is no plugin."""
    from snakemake.logging import ColorizingTextHandler, DefaultFilter, DefaultFormatter

    handler: logging.Handler = ColorizingTextHandler(nocolor=common.nocolor, stream=stream)
    handler.addFilter(
        DefaultFilter(
            common.quiet,
            common.debug_dag,
            common.verbose,
            common.dryrun,
            common.printshellcmds,
        )
    )
    handler.setFormatter(DefaultFormatter(common.quiet, common.show_failed_logs))
    return handler
