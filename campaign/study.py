"""A small study made once without disturbance, copies of it to disturb, and what is compared.

The work folder is $SYNTHGAP_CAMPAIGN_WORK, or one under the system's folder of temporary files.
"""

import csv
import fcntl
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONFIG = Path(__file__).with_name("study.yaml")
PARTS = ("Snakefile", "workflow", "src", "config", "profiles", "slurm", "envs")
TARGETS = ("all", "cards")
# What facts say of the run and not of what it made; a fork has libraries loaded that it needs not.
TIMES = {"seconds", "images_per_second", "host", "slurm_job", "cached", "versions"}
PATIENCE = float(os.environ.get("SYNTHGAP_CAMPAIGN_PATIENCE", "600"))  # seconds
PREFIX = 'trap : TERM; set -euo pipefail; export PYTHONPATH="$SYNTHGAP_SOURCE"; '


@dataclass(frozen=True)
class Job:
    """A job of the study: what a rule makes with one choice of its wildcards."""

    rule: str
    command: str  # as Snakemake gives it to the shell
    outputs: tuple[str, ...]
    inputs: tuple[str, ...]
    log: str


def work_folder() -> Path:
    """Return the folder in which references and copies lie."""
    default = Path(tempfile.gettempdir(), f"synthgap-campaign-{os.getuid()}")
    return Path(os.environ.get("SYNTHGAP_CAMPAIGN_WORK", default))


@cache
def reference() -> Path:
    """Return a checkout in which the study was made without disturbance; make it where missing.

    It has the code of the working tree; $SYNTHGAP_CAMPAIGN_REFERENCE names one with other code.
    """
    if given := os.environ.get("SYNTHGAP_CAMPAIGN_REFERENCE"):
        return Path(given)
    digest = hashlib.sha256(CONFIG.read_bytes())
    for part in ("Snakefile", "workflow", "src"):
        for file in sorted((ROOT / part).rglob("*")) if part != "Snakefile" else [ROOT / part]:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(str(file.relative_to(ROOT)).encode() + file.read_bytes())
    folder = work_folder() / f"reference-{digest.hexdigest()[:12]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "whole.json").exists():
            print(f"making the study once without disturbance, in {folder}", flush=True)
            _make(folder)
    return folder


def _make(folder: Path) -> None:
    if not (folder / "study.yaml").exists():  # else it goes on with what a kill left
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        for part in PARTS:
            if (ROOT / part).is_dir():
                copy = folder / part
                shutil.copytree(ROOT / part, copy, ignore=ignored, dirs_exist_ok=True)
            else:
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / part, folder / part)
        shutil.copy2(CONFIG, folder / "study.yaml")
    tree = Tree(folder)
    tree.temporary.mkdir(exist_ok=True)
    if (folder / ".snakemake/locks").exists():
        tree.snakemake("--unlock", *TARGETS)
    done = tree.snakemake("--cores", "2", *TARGETS)
    if done.returncode:
        raise RuntimeError(f"the undisturbed run failed: {done.stdout[-3000:]}")
    record(tree)


def record(tree: "Tree") -> None:
    """Write down the jobs of a finished run, and digests of what they made."""
    folder = tree.folder
    summary = tree.snakemake("--detailed-summary", *TARGETS).stdout
    jobs: dict[str, dict[str, list[str] | str]] = {}
    table = summary[summary.index("output_file\t") :]
    for line in csv.DictReader(io.StringIO(table), delimiter="\t", quoting=csv.QUOTE_NONE):
        if not line["shellcmd"] or not (folder / line["output_file"]).exists():
            continue
        job = jobs.setdefault(
            line["log-file(s)"],
            {
                "rule": line["rule"],
                "command": line["shellcmd"],
                "inputs": line["input-file(s)"].split(","),
                "outputs": [],
                "log": line["log-file(s)"],
            },
        )
        job["outputs"].append(line["output_file"])  # type: ignore[union-attr]
    whole = {"jobs": list(jobs.values()), "digests": tree.digests()}
    (folder / "whole.json.part").write_text(json.dumps(whole, indent=1))
    (folder / "whole.json.part").rename(folder / "whole.json")


@cache
def _whole() -> dict:
    return json.loads((reference() / "whole.json").read_text())


@cache
def jobs() -> list[Job]:
    """Return all jobs of the study."""
    found = _whole()["jobs"]
    return [
        Job(**{k: tuple(v) if isinstance(v, list) else v for k, v in one.items()}) for one in found
    ]


def job_that_makes(output: str) -> Job | None:
    """Return the job that a file is from."""
    return next((job for job in jobs() if output in job.outputs), None)


def dependents(job: Job) -> list[Job]:
    """Return the jobs that read what one makes."""
    return [one for one in jobs() if set(one.inputs) & set(job.outputs)]


def digests() -> dict[str, str]:
    """Return the digest of each file of the undisturbed run that is the same in every run."""
    return _whole()["digests"]


@cache
def states() -> dict[str, tuple[int, int]]:
    """Return size and time of each file of the undisturbed run."""
    folder = reference() / "results"
    found = ((file, file.stat()) for file in folder.rglob("*") if file.is_file())
    kept = ((file, state) for file, state in found if file.name != ".snakemake_timestamp")
    return {str(f.relative_to(folder)): (s.st_size, s.st_mtime_ns) for f, s in kept}


@contextmanager
def copy_of_study() -> Iterator["Tree"]:
    """Yield a copy of the undisturbed run; it is removed, and what still runs in it is ended."""
    folder = work_folder() / f"trial-{os.getpid()}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    whole = reference()
    subprocess.run(["cp", "-a", "--reflink=auto", str(whole), str(folder)], check=True)
    tree = Tree(folder)
    shutil.rmtree(tree.temporary, ignore_errors=True)
    tree.temporary.mkdir()
    try:
        yield tree
    finally:
        tree.end()
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Tree:
    """A checkout with its results, and the processes that are at work in it."""

    folder: Path
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    further: dict[str, str] = field(default_factory=dict)
    """environment variables that a trial sets besides"""
    sessions: set[int] = field(default_factory=set)
    """of forks, whose environment nobody else can read"""

    @property
    def temporary(self) -> Path:
        """The folder of temporary files of all that runs here."""
        return self.folder / "tmp"

    @property
    def results(self) -> Path:
        """The results folder."""
        return self.folder / "results"

    def environment(self) -> dict[str, str]:
        """Return what is set for a run, and for a job that is started by hand."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        return os.environ | {
            "PATH": path,
            "PYTHONPATH": str(self.folder / "src"),
            "SYNTHGAP_SOURCE": str(self.folder / "src"),
            "SYNTHGAP_SCRIPTS": str(self.folder / "workflow/scripts"),
            "SYNTHGAP_SCRATCH": "results/.scratch",
            "SYNTHGAP_CHECKPOINT_SECONDS": "0",
            "SYNTHGAP_SERVICE": "{}",
            "SYNTHGAP_REPLIES": "",
            "SYNTHGAP_UNCAPTIONED": "0.01",
            "TMPDIR": str(self.temporary),
            "SYNTHGAP_CAMPAIGN_MARK": self.mark,
            **self.further,
        }

    def start(self, command: list[str], output: Path) -> subprocess.Popen[bytes]:
        """Start a command in a process group of its own; what it says is in a file."""
        with output.open("wb") as file:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                preexec_fn=own_session,
            )

    def by_hand(self, job: Job, output: Path) -> subprocess.Popen[bytes]:
        """Start a job's command as Snakemake would, without it."""
        return self.start(["bash", "-c", PREFIX + job.command], output)

    def workflow(self, *options: str, output: Path) -> subprocess.Popen[bytes]:
        """Start Snakemake."""
        command = [sys.executable, "-m", "snakemake", *options, "--configfile", "study.yaml"]
        return self.start(command, output)

    def snakemake(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Run Snakemake to its end."""
        command = [sys.executable, "-m", "snakemake", *options, "--configfile", "study.yaml"]
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=7200,
        )

    def processes(self) -> list[int]:
        """Return all processes that were started here, or by one of those."""
        found, mark = [], f"SYNTHGAP_CAMPAIGN_MARK={self.mark}".encode()
        for folder in Path("/proc").iterdir():
            if folder.name.isdecimal():
                with suppress(OSError):
                    process = int(folder.name)
                    marked = mark in (folder / "environ").read_bytes().split(b"\0")
                    if marked or os.getsid(process) in self.sessions:
                        found.append(process)
        return found

    def wait_for_quiet(self, seconds: float) -> list[int]:
        """Wait until nothing runs here any more; return what does all the same."""
        end = time.monotonic() + seconds
        while (left := self.processes()) and time.monotonic() < end:
            time.sleep(0.1)
        return left

    def end(self) -> None:
        """Kill all that runs here."""
        for process in self.processes():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.wait_for_quiet(10)

    def remove(self, job: Job) -> None:
        """Remove what a job made."""
        for output in job.outputs:
            path = self.folder / output
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def files(self) -> list[str]:
        """Return all files of the results, but for unfinished work and Snakemake's notes."""
        found = []
        for file in self.results.rglob("*"):
            name = str(file.relative_to(self.results))
            noted = file.name == ".snakemake_timestamp"  # of a folder, where Snakemake made it
            if file.is_file() and not noted and not name.startswith(".scratch/"):
                found.append(name)
        return sorted(found)

    def digests(self, among: list[str] | None = None) -> dict[str, str]:
        """Return digests of the files that are the same in every run."""
        found = {}
        for name in self.files() if among is None else among:
            if not differs(name):
                found[name] = digest(name, (self.results / name).read_bytes())
        return found

    def changed(self) -> list[str]:
        """Return what differs from the undisturbed run: missing, added and changed files.

        Files of the same size and time are taken to be the copies that they are.
        """
        expected, before = digests(), states()
        wrong, here = [], set(self.files())
        for name in sorted(here):
            file = self.results / name
            state = file.stat()
            if before.get(name) == (state.st_size, state.st_mtime_ns):
                continue
            if name not in before and not name.startswith(("logs/", "benchmarks/")):
                wrong.append(f"{name} was not there before")
            elif name in expected:
                if digest(name, file.read_bytes()) != expected[name]:
                    wrong.append(f"{name} has other bytes")
            elif why := unreadable(file):
                wrong.append(f"{name} {why}")
        gone = [name for name in before if name not in here and not name.startswith(".scratch/")]
        # A benchmark is Snakemake's, and a job that is started by hand has none.
        return wrong + [f"{name} is gone" for name in gone if not name.startswith("benchmarks/")]

    def half_written(self, job: Job) -> list[str]:
        """Return which of a job's outputs are there and are not whole."""
        wrong, expected = [], digests()
        for output in job.outputs:
            path = self.folder / output
            for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                name = str(file.relative_to(self.results))
                try:
                    content = file.read_bytes() if file.is_file() else None
                except FileNotFoundError:
                    continue
                if content is None:
                    continue
                if name in expected:
                    if digest(name, content) != expected[name]:
                        wrong.append(f"{name} is half-written")
                elif why := unreadable(file):
                    wrong.append(f"{name} {why}")
            if path.is_dir():
                whole = reference() / output
                want = {str(f.relative_to(whole)) for f in whole.rglob("*")}
                want.discard(".snakemake_timestamp")
                have = {str(f.relative_to(path)) for f in path.rglob("*")}
                if path.is_dir() and want - have:
                    wrong.append(f"{output} lacks {sorted(want - have)[0]}")
        return wrong

    def left_over(self) -> list[str]:
        """Return temporary files and unfinished work that nobody will take up."""
        found = [
            f"tmp/{path.name}"
            for path in self.temporary.iterdir()
            # A cache that torch keeps for all, and what a Snakemake that was killed cannot remove.
            if not path.name.startswith(("torchinductor", "snakemake"))
        ]
        for file in self.results.rglob("*"):
            name = str(file.relative_to(self.results))
            if name.startswith(".scratch/features") or not file.is_file():
                continue
            if name.startswith(".scratch/") or file.name.endswith(".part"):
                found.append(name)
        return found


def own_session() -> None:
    """Lead a session, with no more of the processor than the one that this is started from.

    Linux shares time between sessions first, and a new one begins without its elder's niceness.
    """
    group = Path("/proc/self/autogroup")
    with suppress(OSError, IndexError):
        nice = group.read_text().split()[-1]
        os.setsid()
        group.write_text(nice)
    with suppress(OSError):
        os.setsid()  # where there are no such groups; else it leads one already


def differs(name: str) -> bool:
    """Say whether a file of the results may differ from run to run: it tells times."""
    if name.startswith(("logs/", "benchmarks/")):
        return True
    # Digests of files that do.
    return name.endswith(("report.html", ".json.sha256", ".html.sha256"))


def digest(name: str, content: bytes) -> str:
    """Return the digest of a file; of JSON, without the times that facts have in them."""
    if name.endswith(".json"):
        with suppress(ValueError):
            content = json.dumps(_timeless(json.loads(content)), sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()


def _timeless(value: object) -> object:
    if isinstance(value, dict):
        return {key: _timeless(one) for key, one in value.items() if key not in TIMES}
    return [_timeless(one) for one in value] if isinstance(value, list) else value


def unreadable(file: Path) -> str | None:
    """Return what is wrong with a file of facts, or None."""
    if file.suffix == ".json":
        try:
            json.loads(file.read_text())
        except (OSError, ValueError) as error:
            return f"is no JSON ({error})"
    elif file.name == "report.html" and not file.read_text().rstrip().endswith("</html>"):
        return "has no end"
    return None
