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
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from synthgap.atomic import write_text

FOLDER = Path(".snakemake/slurm_runs")
# As Snakemake names its records: base64, in parts that fit in a file's name.
RECORDS = Path(".snakemake/metadata")
NAME_PART = 254
COMMAND = "python workflow/scripts/settle_run.py"


@dataclass(frozen=True)
class Run:
    """A run on a cluster that has not noted its end."""

    name: str  # the name of its jobs in Slurm
    results: str
    settings: str  # digest of config and code
    configfiles: list[str]
    config: list[str]  # of the command line, KEY=VALUE
    host: str
    pid: int
    began: str  # the process's own start, in the kernel's ticks

    def lives(self) -> bool | None:
        """Say whether its process is there still; None where it was on another host."""
        if self.host != platform.node():
            return None
        return _began(self.pid) == self.began

    def note(self) -> None:
        """Write it down."""
        write_text(FOLDER / f"{self.name}.json", json.dumps(asdict(self), indent=1) + "\n")

    def forget(self) -> None:
        """It ended, or was settled."""
        (FOLDER / f"{self.name}.json").unlink(missing_ok=True)


def this_run(
    log: Path, results: str, settings: str, configfiles: Iterable[str], config: Iterable[str]
) -> Run:
    """Return the run of this process, by its Snakemake log."""
    found = re.search(r"SLURM run ID: (\S+)", Path(log).read_text())
    if not found:
        raise RuntimeError(
            f"{log} does not tell the run's id: another version of the Slurm plugin?"
        )
    pid = os.getpid()
    return Run(
        name=found[1],
        results=str(Path(results).resolve()),
        settings=settings,
        configfiles=list(map(str, configfiles)),
        config=list(config),
        host=platform.node(),
        pid=pid,
        began=_began(pid) or "",
    )


def unsettled(results: str | None = None) -> list[Run]:
    """Return the runs that have not noted their end, of one results folder or of all."""
    runs = [Run(**json.loads(file.read_text())) for file in sorted(FOLDER.glob("*.json"))]
    return [run for run in runs if results is None or run.results == str(Path(results).resolve())]


def refusal(results: str) -> str | None:
    """Return why no run may start now in these results, or None."""
    for run in unsettled(results):
        lives = run.lives()
        if lives:
            continue  # Snakemake's own lock deals with it
        where = "" if lives is False else f" on {run.host}"
        return (
            f"An earlier run here (process {run.pid}{where}) did not end by itself; its jobs may "
            "be at work still. Settle it first, then start again:\n"
            f"  {COMMAND} wait      lets its jobs end\n"
            f"  {COMMAND} cancel    stops them; what they have done so far is kept"
        )
    return None


def _began(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return None


def newer_than_record(file: Path) -> bool:
    """Say whether a file was made after Snakemake's record of its options, or has none.

    Snakemake writes the record when a job has succeeded, so one that is older is of another job.
    """
    name = base64.urlsafe_b64encode(str(file).encode()).decode()
    parts = [name[start : start + NAME_PART] for start in range(0, len(name), NAME_PART)]
    record = RECORDS.joinpath(*(f"@{part}" for part in parts[:-1]), parts[-1])
    # A second for file systems that tell no fractions.
    return not record.exists() or file.stat().st_mtime > record.stat().st_mtime + 1


def settings_digest(config: str, checkout: Path) -> str:
    """Return a digest of the config and of all code that jobs run."""
    digest = hashlib.sha256(config.encode())
    folders = [checkout / "src", checkout / "workflow"]
    found = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    for path in [checkout / "Snakefile", *sorted(found)]:
        if path.suffix != ".pyc":
            digest.update(path.read_bytes())
    return digest.hexdigest()
