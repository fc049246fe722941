"""Notes of the runs whose jobs outlive them: on a cluster, a killed Snakemake leaves its jobs.

A run notes its start, and its end if it lives to see it. One that did not has to be settled before
the next may start: its jobs would write the same files, and what they have finished meanwhile has
no record of the options it was made with, so that a change of these would not remake it.
"""

import base64
import hashlib
import json
import os
import platform
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from synthgap.atomic import write_text
from synthgap.digest import whole_digest
from synthgap.errors import UserError

FOLDER = Path(".snakemake/slurm_runs")
RECORDS = Path(".snakemake/metadata")


@dataclass(frozen=True)
class Run:
    """A run on a cluster that has not noted its end."""

    name: str  # the name of its jobs in Slurm
    results: str
    settings: str  # digest of config and code
    snakefile: str
    configfiles: list[str]
    config: list[str]  # of the command line, KEY=VALUE
    started: float  # seconds since 1970
    host: str
    pid: int
    process_started: float | None

    def lives(self) -> bool | None:
        """Say whether its process is there still; None where it was on another host."""
        if self.host != platform.node():
            return None
        return process_start(self.pid) == self.process_started

    def note(self) -> None:
        """Write it down."""
        write_text(FOLDER / f"{self.name}.json", json.dumps(asdict(self), indent=1) + "\n")

    def forget(self) -> None:
        """It ended, or was settled."""
        (FOLDER / f"{self.name}.json").unlink(missing_ok=True)


def this_run(
    name: str,
    results: str,
    settings: str,
    snakefile: str,
    configfiles: Iterable[object],
    config: Iterable[str],
) -> Run:
    """Return the run of this process."""
    pid = os.getpid()
    return Run(
        name=name,
        results=str(Path(results).absolute()),
        settings=settings,
        snakefile=str(snakefile),
        configfiles=list(map(str, configfiles)),
        config=list(config),
        started=time.time(),
        host=platform.node(),
        pid=pid,
        process_started=process_start(pid),
    )


def unsettled(results: str | None = None) -> list[Run]:
    """Return the runs that have not noted their end, of one results folder or of all.

    Raises:
        UserError: a note cannot be read.
    """
    runs = []
    for file in sorted(FOLDER.glob("*.json")):
        try:
            runs.append(Run(**json.loads(file.read_text())))
        except (ValueError, TypeError):
            raise UserError(
                f"{file.absolute()} is not the note of a run; when no job of that name is in "
                "`squeue --me`, remove it"
            ) from None
    return [run for run in runs if results is None or run.results == str(Path(results).absolute())]


def refusal(results: str) -> str | None:
    """Return why no run may start now in these results, or None."""
    for run in unsettled(results):
        lives = run.lives()
        if lives:
            return f"A run is at work here already (process {run.pid}); wait for it or stop it."
        where, option = ("", "") if lives is False else (f" on {run.host}", " --process-is-gone")
        folder, checkout = Path.cwd(), Path(run.snakefile).parent
        enter = "" if folder == checkout else f"cd {folder} && "
        script = "" if folder == checkout else f"{checkout}/"
        command = f"{enter}python {script}workflow/scripts/settle_run.py"
        return (
            f"An earlier run here (process {run.pid}{where}) did not end by itself; its jobs may "
            "be at work still. Settle it first, then start again:\n"
            f"  {command} wait{option}      lets its jobs end\n"
            f"  {command} cancel{option}    stops them; what they have done so far is kept"
        )
    return None


def process_start(pid: int) -> float | None:
    """Return when a process started, which tells it from a later one of the same number."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return None


def newer_than_record(file: Path) -> bool:
    """Say whether a file was made after Snakemake's record of its options, or has none.

    Snakemake writes the record when a job has succeeded, so one that is older is of another job.
    """
    # As Snakemake names its records: base64, in parts that fit in a file's name.
    name = base64.urlsafe_b64encode(str(file).encode()).decode()
    most = os.pathconf(".", "PC_NAME_MAX") - 1
    parts = [name[start : start + most] for start in range(0, len(name), most)]
    record = RECORDS.joinpath(*(f"@{part}" for part in parts[:-1]), parts[-1])
    # A second for file systems that tell no fractions.
    return not record.exists() or file.stat().st_mtime > record.stat().st_mtime + 1


def settings_digest(config: str, rules: Path) -> str:
    """Return a digest of the config, of all code, and of the rules in a folder."""
    digest = hashlib.sha256(f"{config} {whole_digest()}".encode())
    for file in sorted(rules.glob("*.smk")):
        digest.update(file.read_bytes())
    return digest.hexdigest()
