"""Settle a run on a cluster whose Snakemake was killed, so that the next one may start.

Waits for its jobs or cancels them, unlocks the folder, and looks after what the jobs finished when
no Snakemake was there to record with which options: with the same config and code as then, it is
recorded now; otherwise it is removed, to be made again.
"""

import argparse
import csv
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from synthgap.errors import UserError
from synthgap.job import command, log, run
from synthgap.runs import FOLDER, Run, newer_than_record, unsettled
from synthgap.slurm import cancel, queued, require_slurm, wait_until_gone

SETTINGS = FOLDER / "settings"


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument(
        "how",
        choices=["wait", "cancel"],
        help="wait until its jobs have ended, or stop them (finished work within them is kept)",
    )
    return parser


def main(args: argparse.Namespace) -> None:
    if not Path("Snakefile").exists():
        raise UserError("start this in the folder that Snakemake was started in")
    if not (runs := unsettled()):
        log.info("nothing to settle: every run here has noted its end")
        return
    require_slurm()
    for one in runs:
        settle(one, args.how)


def settle(one: Run, how: str) -> None:
    """Bring one run to its end."""
    lives = one.lives()
    if lives:
        log.info("the run of process %d is at work; it needs no settling", one.pid)
        return
    if lives is None:
        log.info(
            "the run was started on %s: make sure that its process %d is gone", one.host, one.pid
        )
    jobs = queued(one.name)
    log.info("%d jobs of the run of process %d wait or run", len(jobs), one.pid)
    for job in jobs:
        log.info("  %s %s %s", job.number, job.state, job.what)
    if jobs and how == "cancel":
        cancel(one.name)
    wait_until_gone(one.name)

    snakemake(one, "--unlock")
    if made := unrecorded(one):
        record_or_remove(one, made)
    one.forget()
    log.info("settled; start again with the same command as before")


def unrecorded(one: Run) -> list[str]:
    """Return the files that Snakemake takes for up to date and that are newer than its records."""
    rows = csv.DictReader(snakemake(one, "--summary").splitlines(), delimiter="\t")
    files = [Path(row["output_file"]) for row in rows if row["plan"] == "no update"]
    return [str(file) for file in files if newer_than_record(file)]


def record_or_remove(one: Run, files: Iterable[str]) -> None:
    """Record the options of files that jobs made on their own, where these still hold."""
    files = list(files)
    if SETTINGS.read_text() == one.settings:
        snakemake(one, "--touch", "--force", *files)
        log.info("%d files that its jobs finished on their own are kept", len(files))
        return
    for file in files:
        Path(file).unlink()
    log.info(
        "%d files that its jobs finished on their own are removed: config or code are not as they "
        "were at its start",
        len(files),
    )


def snakemake(one: Run, *words: str) -> str:
    """Run Snakemake with the run's config files; return what it printed."""
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *words]
    command += ["--configfile", *one.configfiles] if one.configfiles else []
    command += ["--config", *one.config] if one.config else []
    # The Snakefile then starts all the same, and tells the digest of config and code.
    environment = os.environ | {"SYNTHGAP_SETTLING": str(SETTINGS)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise UserError(f"`snakemake {words[0]}` failed:\n{(done.stdout + done.stderr).strip()}")
    return done.stdout


if __name__ == "__main__":
    run(options(), main)
