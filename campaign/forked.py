"""Commands of the workflow in forked processes: hundreds of trials without as many imports.

A server imports what the commands need and starts no thread; each trial is a fork of it, with
limits of time, memory and file size, in a folder of its own. Its standard error, its exit status
and what it left of the files beside its results tell whether the trial is a defect.
"""

import contextlib
import hashlib
import json
import os
import resource
import runpy
import signal
import subprocess
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from campaign.rows import REFUSED, RIGHT

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "workflow" / "scripts"
MEGABYTE = 1 << 20
# Standard error may say more below its one line, indented: the images that cannot be read, say.
SHOWN = 300

LIGHT = (
    "cv2",
    "jsonschema",
    "numpy",
    "PIL.Image",
    "pyarrow.parquet",
    "simplejpeg",
    "yaml",
    "synthgap.captioners",
    "synthgap.config",
    "synthgap.data.real",
    "synthgap.data.shards",
    "synthgap.job",
)
HEAVY = (
    *LIGHT,
    "diffusers",
    "timm",
    "torch",
    "torchvision",
    "transformers",
    "synthgap.classifiers.evaluation",
    "synthgap.encoders",
    "synthgap.generators.loading",
)


@dataclass(frozen=True)
class Ended:
    """How a trial's process ended."""

    status: int
    """exit status; negative: the signal that ended it"""
    out: str
    error: str
    seconds: float
    late: bool
    """it was ended since its time was over"""
    megabytes: int
    """most memory that it held"""

    def fault(self) -> str:
        """Say what of this is a defect in any case; "" if nothing is."""
        last = next((x for x in reversed(self.error.splitlines()) if x.strip()), "")
        if self.late:
            return f"DEFECT hang: {self.seconds:.0f} s"
        if self.status < 0:
            return f"DEFECT ended by signal {-self.status}: {last[:SHOWN]}"
        if "Traceback (most recent call last)" in self.error:
            return f"DEFECT traceback: {last[:SHOWN]}"
        if self.status and len(self.lines) != 1:
            return f"DEFECT {len(self.lines)} lines: {self.error[:SHOWN]!r}"
        return ""

    @property
    def lines(self) -> list[str]:
        """What it told, without the indented list below a line."""
        return [x for x in self.error.splitlines() if x.strip() and not x.startswith(" ")]

    def outcome(self, wrong: str = "") -> str:
        """Return the outcome of a trial.

        Args:
            wrong: what is wrong of the result, if it ended well.
        """
        if fault := self.fault():
            return fault
        if self.status:
            return REFUSED
        return f"DEFECT {wrong}" if wrong else RIGHT


class Server:
    """A process that forks one for each trial."""

    def __init__(self, modules: tuple[str, ...]) -> None:
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(
                [str(ROOT / "src"), str(ROOT), str(ROOT / "tests"), str(SCRIPTS)]
            ),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "SYNTHGAP_SCRIPTS": str(SCRIPTS),
            "SYNTHGAP_SOURCE": str(ROOT / "src"),
            "CUDA_VISIBLE_DEVICES": "",
        }
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "campaign.forked", *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment,
        )

    def run(self, job: dict[str, Any]) -> dict[str, Any]:
        """Have one job done."""
        assert self._process.stdin and self._process.stdout
        with self._lock:
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("the server of trials ended")
        told: dict[str, Any] = json.loads(answer)
        return told


_servers: dict[tuple[str, ...], Server] = {}


def _server(modules: tuple[str, ...]) -> Server:
    if modules not in _servers:
        _servers[modules] = Server(modules)
    return _servers[modules]


def run_command(
    name: str,
    arguments: list[object],
    folder: Path,
    *,
    modules: tuple[str, ...] = LIGHT,
    seconds: float = 60,
    megabytes: int = 2000,
    environment: dict[str, str] | None = None,
    before: str = "",
) -> Ended:
    """Run a command of the workflow, as the rules do.

    Args:
        name: of `workflow/scripts/<name>.py`; or `<module>:<function>`, called without arguments.
        folder: that it runs in.
        megabytes: memory that it may take besides that of what is imported.
        before: `<module>:<function>` called first, to plant a fault in the process.
    """
    job = {
        "name": name,
        "arguments": [str(one) for one in arguments],
        "folder": str(folder),
        "seconds": seconds,
        "megabytes": megabytes,
        "environment": environment or {},
        "before": before,
    }
    told = _server(modules).run(job)
    out, error = (folder.parent / f".{folder.name}.{kind}" for kind in ("out", "err"))
    ended = Ended(
        told["status"],
        out.read_text(errors="replace"),
        error.read_text(errors="replace"),
        told["seconds"],
        told["late"],
        told["megabytes"],
    )
    out.unlink()
    error.unlink()
    return ended


def listing(folder: Path, but: tuple[str, ...] = ()) -> str:
    """Return a digest of the names, kinds and bytes of all below a folder.

    Args:
        but: folders, relative to it, that may change.
    """
    digest = hashlib.sha256()
    for base, folders, files in os.walk(os.fsencode(folder)):
        folders.sort()
        where = os.path.relpath(base, os.fsencode(folder))
        folders[:] = [x for x in folders if os.path.normpath(os.path.join(where, x)) not in
                      {os.fsencode(one) for one in but}]  # fmt: skip
        for name in sorted([*files, *folders]):
            path = os.path.join(base, name)
            state = os.lstat(path)
            digest.update(os.path.join(where, name) + b"\0%o\0" % state.st_mode)
            if os.path.isfile(path) and not os.path.islink(path):
                with open(path, "rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


# What follows runs in the server and its forks.


def _serve(modules: list[str]) -> None:
    import importlib

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for module in modules:
        importlib.import_module(module)
    size = _virtual_megabytes()
    for line in sys.stdin:
        job = json.loads(line)
        answers.write(json.dumps(_forked(job, size)) + "\n")
        answers.flush()


def _virtual_megabytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize() // MEGABYTE


def _forked(job: dict[str, Any], size: int) -> dict[str, Any]:
    started = time.monotonic()
    child = os.fork()
    if not child:
        _child(job, size)
    late = False
    # Not reaped before all that it started is ended: until then no other process has its number.
    while not os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        if not late and time.monotonic() - started > job["seconds"]:
            late = True
            os.kill(child, signal.SIGKILL)
        time.sleep(0.005)
    with contextlib.suppress(ProcessLookupError):  # it led no group yet
        os.killpg(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    return {
        "status": os.waitstatus_to_exitcode(status),
        "late": late,
        "seconds": time.monotonic() - started,
        "megabytes": usage.ru_maxrss // 1024,
    }


def _child(job: dict[str, Any], size: int) -> None:
    code = 0
    try:
        os.setsid()
        folder = Path(job["folder"])
        for number, kind in ((0, None), (1, "out"), (2, "err")):
            place = folder.parent / f".{folder.name}.{kind}" if kind else "/dev/null"
            file = os.open(place, os.O_RDWR | os.O_CREAT | (os.O_TRUNC if kind else 0), 0o644)
            os.dup2(file, number)
        os.chdir(folder)
        most = (size + job["megabytes"]) * MEGABYTE
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000 * MEGABYTE,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.environ.update(job["environment"])
        # As a fresh process would have it.
        sys.stdin = open("/dev/null")
        sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1, closefd=False) for n in (1, 2))
        if job["before"]:
            _called(job["before"])
        if ":" in job["name"]:
            sys.argv = [job["name"], *job["arguments"]]
            _called(job["name"])
        else:
            script = str(SCRIPTS / f"{job['name']}.py")
            sys.argv, sys.path[0] = [script, *job["arguments"]], str(SCRIPTS)
            runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        code = 1
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _called(name: str) -> None:
    import importlib

    module, _, function = name.partition(":")
    getattr(importlib.import_module(module), function)()


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    _serve(sys.argv[1:])
