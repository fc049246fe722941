"""File systems that are slow, and ones whose calls fail, as those of a network or a worn disk do.

Each trial makes one job of the study by hand on `campaign.disturbed_folder`. Waits must change
nothing. After a call that failed, the job ends in the bytes of the undisturbed run or with one line
that says what the file system said, and the same command ends in the same bytes afterwards.
"""

import errno
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from campaign import disk, kills, rows, study
from campaign.disk import outcome
from campaign.rows import Row
from campaign.study import Job, Tree
from synthgap.failures import CLOSING

PART = "file-system"
MAPPED = "no line of its own where a mapped file cannot be read"

# What network file systems and disks answer, by call.
READING = (errno.EIO, errno.ESTALE)
WRITING = (errno.EIO, errno.ESTALE, errno.EDQUOT)
ERRNOS = {
    "open": READING,
    "read": READING,
    "getattr": READING,
    "readdir": READING,
    "create": WRITING,
    "write": WRITING,
    "flush": WRITING,
    "rename": WRITING,
}


def prepare() -> None:
    """Make the study once without disturbance."""
    study.reference()


def trials(seed: int, number: int) -> Row:
    """Make one trial: one of five of a slow file system."""
    chance = rows.chance(seed, PART, number)
    with study.copy_of_study() as tree:
        job = disk.a_job(chance, number, lambda job: True)
        tree.remove(job)
        try:
            told = (slow if number % 5 == 4 else failing)(tree, chance, job)
        except PermissionError as error:
            told = {"fault": "none", "outcome": f"left out: {error}", "times": 0}
    return rows.row(PART, seed, number, hit=job.rule, **told)


def named(file: str) -> str:
    """Return the name of a file that the file system told."""
    return Path(file).name.removeprefix(".").removesuffix(".part")


@contextmanager
def disturbed(tree: Tree, **options: object) -> Iterator[Path]:
    """See the results through such a file system; yield the file of what it says.

    Raises:
        PermissionError: there is none here.
    """
    aside, said = tree.folder / "results.aside", tree.folder / "file-system.txt"
    tree.results.rename(aside)
    tree.results.mkdir()
    command = [sys.executable, "-m", "campaign.disturbed_folder", str(aside), str(tree.results)]
    with said.open("w") as output:
        process = subprocess.Popen(
            [*command, json.dumps(options)],
            cwd=study.ROOT,
            stdout=output,
            stderr=subprocess.DEVNULL,
        )
    try:
        kills.until(process, lambda: os.path.ismount(tree.results))
        if process.poll() is not None:
            raise PermissionError("no file system of a program's own can be mounted here")
        yield said
    finally:
        tree.end()
        subprocess.run(["umount", "-l", str(tree.results)], check=False, capture_output=True)
        process.kill()  # by itself it may wait for calls that the kernel makes anew without end
        process.wait()
        tree.results.rmdir()
        aside.rename(tree.results)


def slow(tree: Tree, chance: random.Random, job: Job) -> dict[str, object]:
    """Let each call wait."""
    delay = 0.02 * chance.random()
    told = {
        "fault": "slow calls",
        "moment": f"{1000 * delay:.0f} ms a call, now and then a hundred times as long",
    }
    with disturbed(tree, delay=delay, seed=chance.randrange(1 << 30)):
        status, said = disk.attempt(tree, job)
    wrong = [f"it fails: {said[-400:]}"] if status else tree.changed()
    return told | outcome(wrong, rows.RECOVERED)


def failing(tree: Tree, chance: random.Random, job: Job) -> dict[str, object]:
    """Let one call fail; three times of ten, all later ones of its kind as well."""
    call = chance.choice(sorted(ERRNOS))
    code = chance.choice(ERRNOS[call])
    at, for_good = int(25 ** chance.random()), chance.random() < 0.3
    with disturbed(tree, call=call, at=at, errno=code, for_good=for_good) as failed:
        status, said = disk.attempt(tree, job)
    files = failed.read_text().splitlines()
    told: dict[str, object] = {
        "fault": f"{'close of a written file' if call == 'flush' else call} fails",
        "moment": f"call {at}{' and on' if for_good else ''}: {os.strerror(code)}, "
        + (files[0] if files else "not reached"),
        "times": int(bool(files)),
    }
    if not status:
        return told | outcome(tree.changed(), rows.RECOVERED)
    wrong = tree.half_written(job)
    mapped = status in (-signal.SIGBUS, 128 + signal.SIGBUS)  # nothing can be said after that
    if not mapped:
        # safetensors calls each file that it cannot open one that is not there.
        names = [os.strerror(code), "no space left on the disk", CLOSING, *map(named, files)]
        why = disk.refusal(said, names)
        wrong += [why] if why else []
    wrong += disk.end(tree, job)
    return told | outcome(wrong, f"{rows.OPEN}: {MAPPED}" if mapped else rows.REFUSED)
