"""Settle a run on a cluster whose Snakemake was killed, so that the next one may start.

Waits for its jobs or cancels them, unlocks the folder, and looks after what the jobs finished when
no Snakemake was there to record with which options: with the same config and code as then, it is
recorded now; otherwise it is set aside under another name, and made again by the next run.
Start it in the folder that Snakemake worked in.
"""

import argparse
import csv
import os
import subprocess
import sys
import textwrap
from pathlib import Path

from synthgap.errors import UserError
from synthgap.job import command, log, run
from synthgap.runs import FOLDER, Run, newer_than_record, unsettled
from synthgap.slurm import cancel, queued, require_slurm, wait_until_gone

SETTINGS = FOLDER / "settings"
ASIDE = ".unrecorded"
SKEW = 60  # seconds that clocks of nodes and servers may differ


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument(
        "how",
        choices=["wait", "cancel"],
        help="wait until its jobs have ended, or stop them (finished work within them is kept)",
    )
    parser.add_argument(
        "--process-is-gone",
        action="store_true",
        help="you have made sure of it where the run was started on another host",
    )
    return parser


def main(args: argparse.Namespace) -> None:
    runs = unsettled()
    if not runs:
        log.info("nothing to settle in %s: every run has noted its end", Path.cwd())
        return
    require_slurm()
    for one in runs:
        lives = one.lives()
        # Unlocking would take away the lock of a run that is at work, whatever it makes.
        if lives:
            raise UserError(f"the run of process {one.pid} is at work; wait for it, or stop it")
        if lives is None and not args.process_is_gone:
            raise UserError(
                f"the run was started on {one.host}: see there that its process {one.pid} is "
                "gone, then say so with --process-is-gone"
            )
    for one in runs:
        settle(one, args.how)


def settle(one: Run, how: str) -> None:
    """Bring one run to its end."""
    jobs = queued(one.name)
    log.info("%d jobs of the run of process %d wait or run", len(jobs), one.pid)
    for job in jobs:
        log.info("  %s %s %s", job.number, job.state, job.what)
    if jobs and how == "cancel":
        cancel(one.name)
    wait_until_gone(one.name)

    snakemake(one, "--unlock")
    if made := unrecorded(one):
        record_or_set_aside(one, made)
    one.forget()
    log.info("settled; start again with the same command as before")


def unrecorded(one: Run) -> list[str]:
    """Return files that the run's jobs made, that have no record and that nothing would remake."""
    rows = csv.DictReader(snakemake(one, "--summary").splitlines(), delimiter="\t")
    files = [Path(row["output_file"]) for row in rows if row["plan"] == "no update"]
    return [
        str(file)
        for file in files
        if file.exists() and file.stat().st_mtime > one.started - SKEW and newer_than_record(file)
    ]


def record_or_set_aside(one: Run, files: list[str]) -> None:
    """Record the options of files that jobs made on their own, where these still hold."""
    if SETTINGS.read_text() == one.settings:
        snakemake(one, "--touch", "--force", *files)
        log.info("%d files that its jobs finished on their own are kept", len(files))
        return
    for file in files:
        Path(file).rename(f"{file}{ASIDE}")
    log.info(
        "config or code are not as they were at its start: %d files that its jobs finished on "
        "their own are set aside as *%s, and will be made again",
        len(files),
        ASIDE,
    )


def snakemake(one: Run, *words: str) -> str:
    """Run Snakemake with the run's config files; return what it printed."""
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *words]
    command += ["--snakefile", one.snakefile]
    command += ["--configfile", *one.configfiles] if one.configfiles else []
    command += ["--config", *one.config] if one.config else []
    # The Snakefile then starts all the same, and tells the digest of config and code.
    environment = os.environ | {"SYNTHGAP_SETTLING": str(SETTINGS)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise UserError(
            f"`snakemake {words[0]}` failed, with the run's own config files "
            f"({', '.join(one.configfiles) or 'the default'}):\n"
            f"{textwrap.indent((done.stdout + done.stderr).strip(), '  ')}"
        )
    return done.stdout


if __name__ == "__main__":
    run(options(), main)
