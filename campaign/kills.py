"""Kills: a signal to a random process of the study at a random moment, and a start again.

A trial removes what some jobs made, makes it again, and is killed meanwhile, once or several times:
it is Snakemake that makes it, or the job's command by hand, or a fork that runs the command, which
costs least.
After each kill whatever lies under a final name must be whole, and in the end all files must be
those of the undisturbed run, with no process and no temporary file left.
"""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from campaign import forked_stage, rows, study
from campaign.rows import Row
from campaign.study import Job, Tree

PART = "kills"
SIGNALS = {"SIGKILL": 0.5, "SIGTERM": 0.3, "SIGINT": 0.2}
MOMENTS = {"starting": 0.2, "at work": 0.4, "writing": 0.4}
MOST_STARTS = 12
RUN, HAND, FORK = "kill of a run", "kill of a stage started by hand", "kill of a stage's work"
WAYS = {RUN: 0.15, HAND: 0.15, FORK: 0.7}

Process = subprocess.Popen[bytes] | forked_stage.Forked


@dataclass
class Trial:
    """What is done in one trial, and what came of it."""

    tree: Tree
    chance: random.Random
    jobs: list[Job]  # in the order in which they depend on each other
    kills: list[str] = field(default_factory=list)
    moments: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    starts: int = 0
    unlocks: int = 0

    @property
    def said(self) -> Path:
        """What the last start said."""
        return self.tree.folder / "said.txt"


def prepare() -> None:
    """Make the study once without disturbance, and import what its stages do."""
    forked_stage.prepare()


def trials(seed: int, number: int) -> Row:
    """Make one trial."""
    chance = rows.chance(seed, PART, number)
    way = chance.choices(list(WAYS), list(WAYS.values()))[0]
    jobs = choose(chance, number, chain=way == RUN)
    if way == FORK and not forked_stage.possible(jobs[0]):
        way = HAND
    rules = "+".join(job.rule for job in jobs)
    with study.copy_of_study() as tree:
        trial = Trial(tree, chance, jobs)
        for job in jobs:
            tree.remove(job)
        wanted = 1 + (chance.random() < 0.5) + (chance.random() < 0.25)
        wanted *= 1 + (way == FORK)
        disturb(trial, wanted, way)
        finish(trial)
        wrong = trial.wrong
    return rows.row(
        PART,
        seed,
        number,
        fault=way,
        hit=f"{rules}: {', '.join(trial.kills)}",
        moment=", ".join(trial.moments),
        outcome=f"{rows.DEFECT}: {'; '.join(wrong[:5])}" if wrong else rows.RECOVERED,
        times=len(trial.kills),
        losses=len(wrong),
        starts=trial.starts,
        unlocks=trial.unlocks,
        stages=[job.rule for job in jobs],
    )


def choose(chance: random.Random, number: int, *, chain: bool) -> list[Job]:
    """Return a job of a rule, each rule in turn, and perhaps some of those that depend on it."""
    rules = sorted({job.rule for job in study.jobs()})
    random.Random(number // len(rules)).shuffle(rules)
    rule = rules[number % len(rules)]
    found = [chance.choice([job for job in study.jobs() if job.rule == rule])]
    while chain and len(found) < 3 and chance.random() < 0.4:
        following = study.dependents(found[-1])
        if not following:
            break
        found.append(chance.choice(following))
    return found


def disturb(trial: Trial, wanted: int, way: str) -> None:
    """Start what was removed until it ends by itself, and kill it as often as is wanted."""
    while trial.starts < MOST_STARTS:
        trial.starts += 1
        process = start(trial, way)
        killing = len(trial.kills) < wanted and trial.starts < MOST_STARTS - 1
        if killing and strike(trial, process):
            for job in trial.jobs:
                trial.wrong += study_half(trial, job)
        if not end_of(trial, process):
            return
        if trial.wrong:
            return
        said = trial.said.read_text(errors="replace")
        if process.returncode == 0:
            if len(trial.kills) < wanted and trial.starts < MOST_STARTS // 2:
                # It was faster than the moment that was chosen.
                trial.tree.wait_for_quiet(study.PATIENCE)
                for job in trial.jobs:
                    trial.tree.remove(job)
                continue
            return
        if way == RUN and "--unlock" in said:
            trial.unlocks += 1
            done = trial.tree.snakemake("--unlock", "--cores", "1")
            if done.returncode:
                trial.wrong.append(f"--unlock failed: {done.stdout[-300:]}")
                return
        elif not killing:
            trial.wrong.append(f"it fails after the kill: {said[-600:]}")
            return
    trial.wrong.append(f"not done after {trial.starts} starts")


def start(trial: Trial, way: str) -> Process:
    """Start the run, or the one job."""
    if way == RUN:
        targets = list(dict.fromkeys(job.outputs[0] for job in trial.jobs))
        return trial.tree.workflow("--cores", "2", *targets, output=trial.said)
    if way == FORK:
        return forked_stage.Forked(trial.tree, trial.jobs[0], trial.said)
    return trial.tree.by_hand(trial.jobs[0], trial.said)


def study_half(trial: Trial, job: Job) -> list[str]:
    """Return what lies half-written under a final name right after a kill."""
    return [f"after {trial.kills[-1]}: {one}" for one in trial.tree.half_written(job)]


def strike(trial: Trial, process: Process) -> bool:
    """Wait for a moment and send a signal; say whether there was something to hit."""
    chance = trial.chance
    moment = chance.choices(list(MOMENTS), list(MOMENTS.values()))[0]
    further = chance.random()
    name = chance.choices(list(SIGNALS), list(SIGNALS.values()))[0]
    wanted = chance.choice(["stage", "stage", "shell", "worker", "snakemake", "all"])
    job = chance.choice(trial.jobs)
    log = trial.tree.folder / job.log
    before = log.stat().st_mtime_ns if log.exists() else 0
    begun = time.monotonic()
    most = 0.6 if isinstance(process, forked_stage.Forked) else 6.0  # as long as imports take

    def at_work() -> bool:
        return log.exists() and log.stat().st_mtime_ns > before and log.stat().st_size > 0

    if moment == "starting":
        until(process, lambda: time.monotonic() - begun > most * further)
    elif moment == "at work":
        until(process, at_work)
        reached = time.monotonic()
        until(process, lambda: time.monotonic() - reached > 1.5 * further**2)
    else:
        watched = Watched(trial.tree, job)
        until(process, watched.writes)
        time.sleep(0.02 * further**2)
    hit = victims(process.pid, wanted)
    if process.poll() is not None or not hit:
        return False
    role, processes = hit
    for one in processes:
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            os.kill(one, getattr(signal, name))
    trial.kills.append(f"{name} to {role}")
    trial.moments.append(f"{moment} ({time.monotonic() - begun:.2f} s)")
    return True


def until(process: Process, true: Callable[[], bool]) -> None:
    """Wait until something is so, or the process has ended."""
    while process.poll() is None and not true():
        time.sleep(0.003)


class Watched:
    """The places where a job writes: whether something unfinished has appeared there."""

    def __init__(self, tree: Tree, job: Job) -> None:
        self.folders = {(tree.folder / output).parent for output in job.outputs}
        self.scratch = tree.results / ".scratch" / job.rule
        self.known = self.all()

    def all(self) -> set[str]:
        """Return all unfinished files there now."""
        found = set()
        for folder in self.folders:
            with suppress(OSError):
                found |= {one.path for one in os.scandir(folder) if one.name.endswith(".part")}
        if self.scratch.exists():
            found |= {str(path) for path in self.scratch.rglob("*")}
        return found

    def writes(self) -> bool:
        """Say whether there is something that was not there at first."""
        return bool(self.all() - self.known)


def victims(leader: int, wanted: str) -> tuple[str, list[int]] | None:
    """Return the role and the numbers of the processes to hit: of a role that is wanted, or any."""
    try:
        top = psutil.Process(leader)
        tree = [top, *top.children(recursive=True)]
    except psutil.NoSuchProcess:
        return None
    roles: dict[str, list[int]] = {}
    for one in tree:
        with suppress(psutil.Error):
            roles.setdefault(role_of(one), []).append(one.pid)
    if wanted == "all":
        return "all processes at once", [one.pid for one in tree]
    for role in (wanted, "worker", "stage", "shell", "snakemake"):
        if role in roles:
            return f"the {role}" if role != "worker" else "a worker", roles[role][:1]
    return None


def role_of(process: psutil.Process) -> str:
    """Say what a process is, by its command line."""
    words = process.cmdline()
    if "snakemake" in words[:4] or any(word.endswith("/snakemake") for word in words[:2]):
        return "snakemake"
    if words and Path(words[0]).name in ("bash", "sh"):
        return "shell"
    parent = process.parent()
    if parent and "synthgap.torchrun" in " ".join(parent.cmdline()):
        return "worker"
    return "stage"


def end_of(trial: Trial, process: Process) -> bool:
    """Wait for the end of what was started. A hang is a defect."""
    try:
        process.wait(study.PATIENCE)
    except subprocess.TimeoutExpired:
        trial.wrong.append(f"it hangs: {trial.said.read_text(errors='replace')[-300:]}")
        return False
    return True


def finish(trial: Trial) -> None:
    """Compare everything with the undisturbed run."""
    if trial.wrong:
        return
    tree = trial.tree
    if left := tree.wait_for_quiet(30):
        names = [" ".join(psutil.Process(pid).cmdline())[:100] for pid in left]
        trial.wrong.append(f"processes are left: {names}")
    trial.wrong += tree.changed()
    trial.wrong += [f"left over: {name}" for name in tree.left_over()]
