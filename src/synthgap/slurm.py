"""Slurm's own commands: what is in the queue, what the site has, what it would refuse."""

import logging
import math
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from synthgap.errors import UserError

log = logging.getLogger("synthgap")

# A free node must be there within this time, or folders are not looked at from a node.
PROBE_SECONDS = 20
SITE = "config/site.yaml"


class QueuedJob(NamedTuple):
    """A job that waits or runs."""

    number: str
    state: str
    what: str  # rule and wildcards


class Request(NamedTuple):
    """What a job asks Slurm for; None: nothing."""

    account: str | None
    partition: str | None
    qos: str | None
    gpus: str | None  # `1` or `h100:1`
    mem_mb: int | None
    minutes: int | None
    cpus: int | None

    @classmethod
    def of(cls, resources: Mapping[str, Any]) -> Self:
        """Return the request that Snakemake's plugin makes of a job's resources."""
        gpus, model = resources.get("gpu"), resources.get("gpu_model")
        return cls(
            account=resources.get("slurm_account"),
            partition=resources.get("slurm_partition"),
            qos=resources.get("qos"),
            gpus=(f"{model}:{gpus}" if model else str(gpus)) if gpus else None,
            mem_mb=resources.get("mem_mb"),
            minutes=resources.get("runtime"),
            cpus=resources.get("cpus_per_task"),
        )

    def options(self) -> list[str]:
        """Return the options of sbatch."""
        named = {
            "account": self.account,
            "partition": self.partition,
            "qos": self.qos,
            "gpus": self.gpus,
            "mem": self.mem_mb,
            "time": self.minutes,
            "cpus-per-task": self.cpus,
        }
        return [f"--{name}={value}" for name, value in named.items() if value is not None]


def require_slurm() -> None:
    """Raise UserError where Slurm's commands are missing."""
    if missing := [name for name in ("sbatch", "squeue", "srun") if not shutil.which(name)]:
        raise UserError(
            f"no {' and no '.join(missing)} on this machine: start `--profile slurm` on a login "
            "node of a Slurm cluster (load its module first, where there is one), or leave the "
            "profile out to run on this machine alone"
        )


def queued(run: str) -> list[QueuedJob]:
    """Return the jobs of one Snakemake run, by its id, that wait or run."""
    listed = _call("squeue", "--me", "--noheader", f"--name={run}", "--format=%i|%T|%k")
    if listed.returncode:
        raise UserError(f"squeue does not answer: {listed.stderr.strip()}; try again later")
    return [QueuedJob(*line.split("|", 2)) for line in listed.stdout.splitlines()]


def cancel(run: str) -> None:
    """Cancel all jobs of one Snakemake run: each gets SIGTERM, and so time to save its work."""
    done = _call("scancel", "--me", f"--name={run}")
    if done.returncode:
        raise UserError(f"scancel failed: {done.stderr.strip()}")


def wait_until_gone(run: str, most_seconds: float = math.inf) -> bool:
    """Wait until no job of a run waits or runs, or a time is over; return whether none is left."""
    started = told = time.monotonic()
    while jobs := queued(run):
        now = time.monotonic()
        if now - started > most_seconds:
            return False
        if now - told > 60:
            log.info("%d jobs left", len(jobs))
            told = now
        time.sleep(2)
    return True


def check_requests(rules: Mapping[Request, str]) -> None:
    """Ask Slurm whether it would take jobs, without submitting any.

    Args:
        rules: for each kind of request a rule that makes it.

    Raises:
        UserError: with Slurm's words, the rule and what to change.
    """
    for request, rule in rules.items():
        done = _call("sbatch", "--test-only", *request.options(), "--wrap=true")
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if "error" in line or "fail" in line]
            words = " ".join(lines or [done.stderr]).strip()
            asked = " ".join(request.options())
            raise UserError(
                f"Slurm would refuse the jobs of {rule} ({asked}):\n  {words}\n  "
                + _advice(words, request)
            )


def check_folders(requests: Iterable[Request], folders: Sequence[Path]) -> None:
    """See from a node of each partition whether it can write folders and has this Python.

    Where no node is free at once, a line in the log says that this was left out.

    Raises:
        UserError: a folder is missing or cannot be written, here or there.
    """
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / ".synthgap-probe"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise UserError(
                f"{folder} cannot be written ({error.strerror}): choose another folder with "
                f"`results` in the config or `scratch` in {SITE}"
            ) from None
    script = (
        '[ -x "$1" ] || { echo "probe:missing $1"; exit 0; }; shift; '
        'for f; do [ -d "$f" ] || { echo "probe:missing $f"; exit 0; }; '
        '( : > "$f/.synthgap-probe-$$" && rm "$f/.synthgap-probe-$$" ) 2>/dev/null '
        '|| { echo "probe:unwritable $f"; exit 0; }; done; echo probe:ok'
    )
    words = ["sh", "-c", script, "sh", sys.executable, *(str(f.resolve()) for f in folders)]
    for partition, one in {request.partition: request for request in requests}.items():
        small = one._replace(gpus=None, mem_mb=100, minutes=1, cpus=1)
        where = f"a node of partition {partition}" if partition else "a node"
        try:
            done = _call(
                "srun",
                f"--immediate={PROBE_SECONDS}",
                "--ntasks=1",
                "--chdir=/",
                *small.options(),
                *words,
                timeout=3 * PROBE_SECONDS,
            )
            found = re.search(r"^probe:(\w+) ?(.*)$", done.stdout, re.MULTILINE)
        except subprocess.TimeoutExpired:
            found = None
        if not found:
            log.warning("no free node to look at the folders from %s; going on", where)
        elif found[1] != "ok":
            problem = "does not see" if found[1] == "missing" else "cannot write"
            raise UserError(
                f"{where} {problem} {found[2]}: checkout, virtual environment, results and scratch "
                f"must lie on a file system that all nodes share; move them, or set `results` in "
                f"the config or `scratch` in {SITE}"
            )


def _advice(words: str, request: Request) -> str:
    """Return what to change so that Slurm takes a job."""
    words = words.lower()
    if "account" in words:
        accounts, partitions = _accounts(), _partitions()
        if request.account not in accounts or request.partition in partitions:
            return f"Set `account` in {SITE}; yours: {_listed(accounts)}"
    if "qos" in words:
        return f"Set `qos` in {SITE}"
    if "partition" in words and "node configuration" not in words:
        key = "gpu_partition" if request.gpus else "partition"
        return f"Set `{key}` in {SITE}; there are: {_listed(_partitions())}"
    if "time limit" in words:
        return f"Set `max_runtime` in {SITE}; `sinfo -o '%P %l'` tells each partition's limit"
    if request.gpus:
        models = _gpu_models(request.partition)
        return (
            f"Set `gpu_model` or `gpu_partition` in {SITE}; GPUs there: {_listed(models)}. "
            "If the model is right, memory or CPUs are too many: set `max_mem_mb`"
        )
    return f"Set `max_mem_mb` in {SITE} to the memory of a node; `sinfo -o '%P %m %c'` tells it"


def _accounts() -> set[str]:
    user = _call("id", "-un").stdout.strip()
    return set(
        _call("sacctmgr", "-nP", "show", "assoc", f"user={user}", "format=account").stdout.split()
    )


def _partitions() -> set[str]:
    return set(_call("sinfo", "--noheader", "--format=%R").stdout.split())


def _gpu_models(partition: str | None) -> set[str]:
    chosen = [f"--partition={partition}"] if partition else []
    listed = _call("sinfo", "--noheader", "--format=%G", *chosen).stdout
    return set(re.findall(r"gpu:([A-Za-z0-9_.-]+):\d", listed))


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none found"


def _call(*command: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    except FileNotFoundError:
        return subprocess.CompletedProcess(command, 127, "", f"no command {command[0]}")
