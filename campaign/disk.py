"""Disks: full, read-only, damaged, with files that vanish or come late.

Each trial makes one job of the study by hand under such a fault. It must end in the bytes of the
undisturbed run, or with one line that names the file and an exit status; what it says must be true
of the file that was hurt. When the fault is gone, the same command must end in the same bytes.
"""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow.parquet as pq

from campaign import kills, rows, study
from campaign.rows import Row
from campaign.study import Job, Tree
from synthgap import checksums

PART = "disk"
MARGIN = 64 << 10


def prepare() -> None:
    """Make the study once without disturbance."""
    study.reference()


def trials(seed: int, number: int) -> Row:
    """Make one trial: of damaged files three times as often as of the others."""
    chance = rows.chance(seed, PART, number)
    kinds = ["damage"] * 6 + ["full", "full", "read-only", "vanish", "late", "scratch"]
    make = MAKERS[kinds[number % len(kinds)]]
    with study.copy_of_study() as tree:
        told = make(tree, chance, number)
    return rows.row(PART, seed, number, **told)


def a_job(chance: random.Random, number: int, among: Callable[[Job], bool]) -> Job:
    """Return a job of one of the rules that are meant, each rule in turn."""
    rules = sorted({job.rule for job in study.jobs() if among(job)})
    random.Random(number // len(rules)).shuffle(rules)
    rule = rules[number % len(rules)]
    return chance.choice([job for job in study.jobs() if job.rule == rule and among(job)])


def attempt(tree: Tree, job: Job) -> tuple[int, str]:
    """Make a job by hand; return its exit status and what it said. 124: it hangs."""
    said = tree.folder / "said.txt"
    process = tree.by_hand(job, said)
    try:
        status = process.wait(study.PATIENCE)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        status = 124
    return status, said.read_text(errors="replace")


def refusal(said: str, names: list[str]) -> str | None:
    """Return what is wrong with how a job says that it cannot, or None.

    Args:
        names: one of which has to be in its one line.
    """
    if "Traceback" in said:
        return f"a traceback instead of a line: {said[-400:]}"
    # Each of several processes may warn.
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    if len(set(lines)) != 1:
        return f"{len(set(lines))} lines that begin with `error:`, not one: {said[-400:]}"
    if not any(name in lines[0] for name in names):
        return f"it names none of {names[:3]}: {lines[0]}"
    return None


def end(tree: Tree, job: Job) -> list[str]:
    """Make the job without a fault, and return what differs from the undisturbed run."""
    status, said = attempt(tree, job)
    if status:
        return [f"it fails when the fault is gone: {said[-400:]}"]
    return [*tree.changed(), *(f"left over: {name}" for name in tree.left_over())]


def outcome(wrong: list[str], otherwise: str) -> dict[str, object]:
    """Return the part of a row that says what came of it."""
    if wrong:
        return {"outcome": f"{rows.DEFECT}: {'; '.join(wrong[:4])}", "losses": len(wrong)}
    return {"outcome": otherwise}


def damage(tree: Tree, chance: random.Random, number: int) -> dict[str, object]:
    """Hurt a file that a job reads."""
    job = a_job(chance, number, lambda job: bool(read_by(tree, job)))
    kinds: dict[str, list[Path]] = {}
    for file in read_by(tree, job):
        kinds.setdefault(file.suffix, []).append(file)
    file = chance.choice(kinds[chance.choice(sorted(kinds))])
    whole = file.read_bytes()
    how, hurt = hurt_bytes(chance, whole)
    state = file.stat()
    file.unlink()
    file.write_bytes(hurt)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    for output in job.outputs:
        (tree.folder / output).parent.mkdir(parents=True, exist_ok=True)
    tree.remove(job)
    name = str(file.relative_to(tree.folder))
    status, said = attempt(tree, job)
    told = {"fault": f"{how} in a {file.suffix} file", "hit": f"{job.rule} reads {name}"}
    if status == 0:
        wrong = [
            f"used silently: {one}" for one in tree.changed() if f"results/{one.split()[0]}" != name
        ]
        return told | outcome(wrong, rows.RECOVERED)
    names = [name, file.name, *(str(p) for p in file.parents if p.name), stem(name)]
    why = refusal(said, [one for one in names if len(one) > 8])
    wrong = [why] if why else []
    file.write_bytes(whole)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    if not wrong and chance.random() < 0.3:
        wrong += end(tree, job)
    return told | outcome(wrong, rows.REFUSED)


def stem(name: str) -> str:
    """Return a path without its suffix: a shard is named by its tar."""
    return str(Path(name).with_suffix(""))


def read_by(tree: Tree, job: Job) -> list[Path]:
    """Return the files that a job reads: its inputs, what is in them, and shards by their rows."""
    found: list[Path] = []
    for name in job.inputs:
        path = tree.folder / name
        if not name or not path.exists():
            continue
        found += sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        if path.suffix == ".tar":
            found.append(path.with_suffix(".parquet"))
        elif path.name == "manifest.parquet" and job.rule != "gather_shards":
            with suppress(KeyError):
                shards = set(pq.read_table(path, columns=["shard"])["shard"].to_pylist())
                tars = [Path(os.path.normpath(path.parent / shard)) for shard in sorted(shards)]
                found += tars + [tar.with_suffix(".parquet") for tar in tars]
    return [path for path in dict.fromkeys(found) if path.is_file() and path.stat().st_size]


def hurt_bytes(chance: random.Random, whole: bytes) -> tuple[str, bytes]:
    """Return what was done, and the bytes after it."""
    how = chance.choice(["a flipped bit", "a flipped bit", "a cut", "a block of zeros"])
    at = chance.randrange(len(whole))
    if how == "a cut":
        return how, whole[:at]
    if how == "a block of zeros":
        length = min(4096, len(whole) - at)
        return how, whole[:at] + bytes(length) + whole[at + length :]
    return how, whole[:at] + bytes([whole[at] ^ 1 << chance.randrange(8)]) + whole[at + 1 :]


def scratch(tree: Tree, chance: random.Random, number: int) -> dict[str, object]:
    """Hurt the unfinished work of a job that was killed; or the cache of features."""
    job = a_job(chance, number, lambda job: "--scratch" in job.command or "--cache" in job.command)
    tree.remove(job)
    told = {"fault": "damaged unfinished work or cache", "hit": job.rule}
    process = tree.by_hand(job, tree.folder / "said.txt")
    folder = tree.results / ".scratch"
    if "--scratch" in job.command:
        watched = kills.Watched(tree, job)
        kills.until(process, watched.writes)
        time.sleep(0.3 * chance.random())
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    files = [f for f in sorted(folder.rglob("*")) if f.is_file() and f.stat().st_size]
    mine = [file for file in files if job.rule in file.parts]
    if "--cache" in job.command and not mine:
        mine = [file for file in files if file.suffix == ".features"]
    if not mine:
        return told | {"outcome": rows.RECOVERED, "times": 0, "moment": "there was none"}
    file = chance.choice(mine)
    how, hurt = hurt_bytes(chance, file.read_bytes())
    file.write_bytes(hurt)
    told["hit"] = f"{job.rule}, {file.name}"
    told["moment"] = how
    status, said = attempt(tree, job)
    if status:
        why = refusal(said, [file.name, str(file.parent.name)])
        return told | outcome([why] if why else [], rows.REFUSED)
    wrong = [*tree.changed(), *(f"left over: {name}" for name in tree.left_over())]
    return told | outcome(wrong, rows.RECOVERED)


@contextmanager
def own_file_system(tree: Tree, size: int) -> Iterator[Callable[[str], None]]:
    """Put the results on a file system in memory; yield a function that mounts it anew."""
    aside, place = tree.folder / "results.aside", tree.folder / "results.mounted"
    place.mkdir()
    kind = ["mount", "-t", "tmpfs", "-o", "size=1G", "campaign", str(place)]
    if os.geteuid() or subprocess.run(kind, capture_output=True).returncode:
        raise PermissionError("file systems cannot be mounted here")
    tree.results.rename(aside)
    tree.results.mkdir()
    subprocess.run(["mount", "--move", str(place), str(tree.results)], check=True)

    def remount(options: str) -> None:
        command = ["mount", "-o", f"remount,{options}", str(tree.results)]
        subprocess.run(command, check=True, capture_output=True)

    try:
        subprocess.run(["cp", "-a", f"{aside}/.", str(tree.results)], check=True)
        shutil.rmtree(aside)
        if size:
            used = shutil.disk_usage(tree.results).used
            remount(f"size={used + size}")
        yield remount
    finally:
        tree.end()
        subprocess.run(["umount", "-l", str(tree.results)], check=False, capture_output=True)


def full(tree: Tree, chance: random.Random, number: int) -> dict[str, object]:
    """Fill the disk at a random place of what a job writes."""
    job = a_job(chance, number, lambda job: True)
    need = sum(
        file.stat().st_size
        for output in job.outputs
        for path in [tree.folder / output]
        for file in (path.rglob("*") if path.is_dir() else [path])
        if file.is_file()
    )
    tree.remove(job)
    room = 4096 + int(chance.random() * (need + MARGIN))
    told = {"fault": "a full disk", "hit": job.rule, "moment": f"{room} bytes free of {need}"}
    try:
        with own_file_system(tree, room) as remount:
            status, said = attempt(tree, job)
            wrong = tree.half_written(job)
            if status:
                why = refusal(said, ["no space left on the disk"])
                wrong += [why] if why else []
                remount("size=1G")
                wrong += end(tree, job)
            else:
                wrong += tree.changed()
            return told | outcome(wrong, rows.REFUSED if status else rows.RECOVERED)
    except PermissionError as error:
        return told | {"outcome": f"left out: {error}", "times": 0}


def read_only(tree: Tree, chance: random.Random, number: int) -> dict[str, object]:
    """Make the results read-only."""
    job = a_job(chance, number, lambda job: True)
    tree.remove(job)
    told: dict[str, object] = {"fault": "read-only results", "hit": job.rule}
    try:
        with own_file_system(tree, 0) as remount:
            remount("ro")
            status, said = attempt(tree, job)
            why = refusal(said, ["Read-only file system"])
            wrong = [why] if why else []
            if not status:
                wrong.append("it succeeds")
            remount("rw")
            wrong += end(tree, job)
            return told | outcome(wrong, rows.REFUSED)
    except PermissionError as error:
        return told | {"outcome": f"left out: {error}", "times": 0}


def vanish(tree: Tree, chance: random.Random, number: int) -> dict[str, object]:
    """Take a file away that a job was planned with, before it starts or while it does."""
    job = a_job(chance, number, lambda job: bool(read_by(tree, job)))
    tree.remove(job)
    file = chance.choice(read_by(tree, job))
    aside = tree.folder / "aside"
    name = str(file.relative_to(tree.folder))
    wait = chance.choice([0.0, 6 * chance.random()])
    told = {
        "fault": "a file vanishes before its use",
        "hit": f"{job.rule} reads {name}",
        "moment": f"after {wait:.1f} s",
    }
    said_at = tree.folder / "said.txt"
    process = tree.by_hand(job, said_at) if wait else None
    if process:
        began = time.monotonic()
        kills.until(process, lambda: time.monotonic() - began > wait)
    file.rename(aside)
    if process:
        status, said = process.wait(study.PATIENCE), said_at.read_text(errors="replace")
    else:
        status, said = attempt(tree, job)
    aside.rename(file)
    if status == 0:
        return told | outcome(tree.changed(), rows.RECOVERED)
    names = [file.name, stem(name), *(str(p) for p in file.parents if len(p.name) > 3)]
    why = refusal(said, names)
    wrong = [why] if why else end(tree, job)
    return told | outcome(wrong, rows.REFUSED)


def late(tree: Tree, chance: random.Random, number: int) -> dict[str, object]:
    """Hide what a job wrote for some seconds, as a slow network file system does for others.

    The job itself sees what it wrote, and so nothing is hidden before its digest is there.
    """
    job = a_job(chance, number, lambda job: not any("." not in Path(o).name for o in job.outputs))
    tree.remove(job)
    file = tree.folder / chance.choice(job.outputs)
    seconds = 0.5 + 3 * chance.random()
    told = {
        "fault": "a file that is seen late",
        "hit": f"{job.rule} makes {job.outputs[0]}",
        "moment": f"{seconds:.1f} s late",
    }
    note = checksums.note_of(checksums.noted([file])[-1])
    note.unlink(missing_ok=True)
    process = tree.workflow("--cores", "1", job.outputs[0], output=tree.folder / "said.txt")
    kills.until(process, note.exists)
    hide = process.poll() is None and file.exists()
    if hide:
        hidden = tree.folder / "hidden"
        with suppress(FileNotFoundError):
            file.rename(hidden)
            time.sleep(seconds)
            hidden.rename(file)
    status = process.wait(study.PATIENCE)
    said = (tree.folder / "said.txt").read_text(errors="replace")
    wrong = [f"it fails: {said[-400:]}"] if status else tree.changed()
    return told | outcome(wrong, rows.RECOVERED) | {"times": int(hide)}


MAKERS = {
    "damage": damage,
    "scratch": scratch,
    "full": full,
    "read-only": read_only,
    "vanish": vanish,
    "late": late,
}
