"""Concurrency: two at work on the same files at a time; both end well, or one is refused."""

import random
import shutil
import subprocess
import time
from pathlib import Path

from campaign import kills, rows, study
from campaign.rows import Row
from campaign.study import Job, Tree

PART = "concurrency"
REFUSED = ("Directory cannot be locked", "--unlock")


def prepare() -> None:
    """Make the study once without disturbance."""
    study.reference()


def trials(seed: int, number: int) -> Row:
    """Make one trial, the kinds in turn."""
    chance = rows.chance(seed, PART, number)
    makers = [two_runs, by_hand_too, twice_by_hand, one_cache, one_results]
    make = makers[number % len(makers)]
    with study.copy_of_study() as tree:
        fault, hit, wrong, otherwise, moment = make(tree, chance, number)
    outcome = f"{rows.DEFECT}: {'; '.join(wrong[:4])}" if wrong else otherwise
    told = {"fault": fault, "hit": hit, "moment": moment, "outcome": outcome}
    return rows.row(PART, seed, number, **told, losses=len(wrong))


Found = tuple[str, str, list[str], str, str]


def ended(process: subprocess.Popen[bytes], said: Path) -> tuple[int, str]:
    """Return exit status and words of what was started; 124: it hangs."""
    try:
        status = process.wait(study.PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        status = 124
    return status, said.read_text(errors="replace")


def left(tree: Tree) -> list[str]:
    """Return all that is not as after the undisturbed run."""
    running = [f"process {pid} is left" for pid in tree.wait_for_quiet(30)]
    return [*running, *tree.changed(), *(f"left over: {name}" for name in tree.left_over())]


def pause(chance: random.Random, process: subprocess.Popen[bytes], most: float) -> str:
    """Wait for a random time while a process is at work, and return how long."""
    seconds, began = most * chance.random(), time.monotonic()
    kills.until(process, lambda: time.monotonic() - began > seconds)
    return f"after {seconds:.1f} s"


def two_runs(tree: Tree, chance: random.Random, number: int) -> Found:
    """Start Snakemake twice in one folder."""
    job = chance.choice(study.jobs())
    tree.remove(job)
    said, other = tree.folder / "said.txt", tree.folder / "other.txt"
    options = ["--cores", "1", job.outputs[0]]
    first = tree.workflow(*options, output=said)
    moment = pause(chance, first, 8)
    second = tree.workflow(*options, output=other)
    status, words = ended(second, other)
    wrong = []
    refused = bool(status)
    if status and not all(one in words for one in REFUSED):
        wrong.append(f"the second is not refused by the lock: {words[-300:]}")
    status, words = ended(first, said)
    if status and REFUSED[0] not in words:
        wrong.append(f"the first fails: {words[-300:]}")
    wrong += left(tree)
    otherwise = rows.REFUSED if refused else rows.RECOVERED
    return "two runs in one folder", job.rule, wrong, otherwise, moment


def by_hand_too(tree: Tree, chance: random.Random, number: int) -> Found:
    """Start a job's command by hand while Snakemake makes the same."""
    job = chance.choice(study.jobs())
    tree.remove(job)
    said, other = tree.folder / "said.txt", tree.folder / "other.txt"
    run = tree.workflow("--cores", "1", job.outputs[0], output=said)
    moment = pause(chance, run, 12)
    hand = tree.by_hand(job, other)
    wrong = []
    for process, file, name in ((run, said, "the run"), (hand, other, "the stage by hand")):
        status, words = ended(process, file)
        if status:
            wrong.append(f"{name} fails: {words[-300:]}")
    wrong += left(tree)
    return "a stage by hand beside a run", job.rule, wrong, rows.RECOVERED, moment


def twice_by_hand(tree: Tree, chance: random.Random, number: int) -> Found:
    """Start a job's command twice."""
    job = chance.choice(study.jobs())
    tree.remove(job)
    return together(tree, tree, job, chance, "a stage by hand twice at once")


def together(tree: Tree, other: Tree, job: Job, chance: random.Random, fault: str) -> Found:
    """Start a job in two trees, which may be the same."""
    files = [tree.folder / "said.txt", tree.folder / "other.txt"]
    first = tree.by_hand(job, files[0])
    moment = pause(chance, first, 3)
    second = other.by_hand(job, files[1])
    wrong = []
    for process, file in zip((first, second), files, strict=True):
        status, words = ended(process, file)
        if status:
            wrong.append(f"one fails: {words[-300:]}")
    for one in {id(tree): tree, id(other): other}.values():
        wrong += left(one)
    return fault, job.rule, wrong, rows.RECOVERED, moment


def another(tree: Tree) -> Tree:
    """Return a second copy of the study, inside the first's folder and so removed with it."""
    folder = tree.folder / "second"
    subprocess.run(["cp", "-a", "--reflink=auto", str(study.reference()), folder], check=True)
    second = Tree(folder, tree.mark)
    shutil.rmtree(second.temporary, ignore_errors=True)
    second.temporary.mkdir()
    return second


def one_cache(tree: Tree, chance: random.Random, number: int) -> Found:
    """Let two studies fill one cache of features."""
    other = another(tree)
    job = chance.choice([job for job in study.jobs() if job.rule == "extract_features"])
    cache = other.results / ".scratch/features"
    shutil.rmtree(cache, ignore_errors=True)
    shutil.rmtree(tree.results / ".scratch/features", ignore_errors=True)
    (tree.results / ".scratch/features").mkdir(parents=True)
    cache.parent.mkdir(parents=True, exist_ok=True)
    cache.symlink_to(tree.results / ".scratch/features")
    for one in (tree, other):
        one.remove(job)
    return together(tree, other, job, chance, "two studies with one cache")


def one_results(tree: Tree, chance: random.Random, number: int) -> Found:
    """Run two checkouts with the same results; what fails is started again, as a user would."""
    other = another(tree)
    shutil.rmtree(other.results)
    other.results.symlink_to(tree.results)
    job = chance.choice(study.jobs())
    tree.remove(job)
    said, words = tree.folder / "said.txt", tree.folder / "other.txt"
    options = ["--cores", "1", job.outputs[0]]
    first = tree.workflow(*options, output=said)
    moment = pause(chance, first, 10)
    second = other.workflow(*options, output=words)
    wrong, again = [], 0
    for process, file, one in ((first, said, tree), (second, words, other)):
        status, _ = ended(process, file)
        if status:
            again += 1
            done = one.snakemake(*options)
            if done.returncode:
                wrong.append(f"it fails again: {done.stdout[-300:]}")
    wrong += left(tree)
    told = f"{moment}, {again} started again"
    return "two checkouts with one results folder", job.rule, wrong, rows.RECOVERED, told
