"""Slurm's own commands: what is in the queue, what the site has, what it would refuse."""

import logging
import math
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from synthgap.config.site import Site
from synthgap.errors import UserError

log = logging.getLogger("synthgap")

# A free node must be there within this time, or folders are not looked at from a node.
PROBE_SECONDS = 20
SITE = "config/site.yaml"
# Snakemake's Slurm plugin looks at the queue every three minutes at least.
FORGOTTEN_SECONDS = 200
# What a node is asked to run: how many paths it has only to see, these, and folders to write in.
PROBE = """
n=$1; shift
for path; do
    [ -e "$path" ] || { echo "probe:missing $path"; exit; }
    n=$((n - 1)); [ $n -lt 0 ] || continue
    ( : > "$path/.synthgap-probe-$$" && rm "$path/.synthgap-probe-$$" ) 2> /dev/null ||
        { echo "probe:unwritable $path"; exit; }
done
echo probe:ok
"""


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
    constraint: str | None
    gpus: str | None  # `1` or `h100:1`
    mem_mb: int | None
    minutes: int | None
    cpus: int | None
    nodes: int | None = None  # with a task on each

    @classmethod
    def of(cls, resources: Mapping[str, Any]) -> Self:
        """Return the request that Snakemake's plugin makes of a job's resources."""
        gpus, model = resources.get("gpu"), resources.get("gpu_model")
        return cls(
            account=resources.get("slurm_account"),
            partition=resources.get("slurm_partition"),
            qos=resources.get("qos"),
            constraint=resources.get("constraint"),
            gpus=(f"{model}:{gpus}" if model else str(gpus)) if gpus else None,
            mem_mb=resources.get("mem_mb"),
            minutes=resources.get("runtime"),
            cpus=resources.get("cpus_per_task"),
            nodes=resources.get("nodes"),
        )

    def options(self) -> list[str]:
        """Return the options of sbatch."""
        named = {
            "account": self.account,
            "partition": self.partition,
            "qos": self.qos,
            "constraint": self.constraint,
            "gpus": self.gpus,
            "mem": self.mem_mb,
            "time": self.minutes,
            "cpus-per-task": self.cpus,
            "nodes": self.nodes,
            "ntasks": self.nodes,
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
        raise UserError(f"squeue does not answer ({listed.stderr.strip()}); try again later")
    return [QueuedJob(*line.split("|", 2)) for line in listed.stdout.splitlines()]


def cancel(run: str) -> None:
    """Cancel all jobs of one Snakemake run: each gets SIGTERM, and so time to save its work."""
    done = _call("scancel", "--me", f"--name={run}")
    if done.returncode:
        raise UserError(f"scancel failed: {done.stderr.strip()}")


def wait_until_gone(run: str, most_seconds: float = math.inf) -> bool:
    """Wait until no job of a run waits or runs, or a time is over; return whether none is left.

    Raises:
        UserError: Slurm has not answered for five minutes.
    """
    started = answered = told = time.monotonic()
    while True:
        now = time.monotonic()
        try:
            if not (jobs := queued(run)):
                return True
            answered = now
        except UserError:
            if now - answered > min(300, most_seconds):
                raise
        if now - started > most_seconds:
            return False
        if now - told > 60:
            log.info("%d jobs left", len(jobs))
            told = now
        time.sleep(2)


def check_requests(rules: Mapping[Request, str], retries: int, site: Site) -> None:
    """Ask Slurm whether it would take jobs, without submitting any.

    What it would refuse of the last retry, which asks for most, is only warned of.

    Args:
        rules: for each kind of request a rule that makes it.

    Raises:
        UserError: with Slurm's words, the rule and what to change.
    """
    for request, rule in rules.items():
        if words := _refused(request):
            raise UserError(
                f"Slurm would refuse the jobs of {rule} ({' '.join(request.options())}):\n"
                f"  {words}\n  {_advice(words, request)}"
            )
        last = request._replace(
            mem_mb=_grown(request.mem_mb, retries, site.max_mem_mb),
            minutes=_grown(request.minutes, retries, site.max_runtime),
        )
        if last != request and (words := _refused(last)):
            log.warning(
                "A job of %s that needs all retries would ask for %s MB and %s minutes, which "
                "Slurm refuses (%s): set `max_mem_mb` and `max_runtime` in %s",
                *(rule, last.mem_mb, last.minutes, words, SITE),
            )
    found = re.search(r"MinJobAge\s*=\s*(\d+)", _call("scontrol", "show", "config").stdout)
    if found and int(found[1]) < FORGOTTEN_SECONDS:
        log.warning(
            "Slurm forgets jobs %s s after their end (MinJobAge), and Snakemake may miss that: if "
            "it waits with no jobs in the queue, interrupt it and start it again",
            found[1],
        )


def check_folders(kinds: Iterable[Request], written: Sequence[str], read: Sequence[str]) -> None:
    """See from a node of each partition whether it sees folders and this Python, and can write.

    Where no node is free at once, a line in the log says that this was left out.

    Raises:
        UserError: a folder is missing or cannot be written, here or there.
    """
    for folder in map(Path, written):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / f".synthgap-probe-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise UserError(
                f"{folder} cannot be written ({error.strerror}): choose another folder with "
                f"`results` in the config or `scratch` in {SITE}"
            ) from None
    # No `resolve`: a node may have the same path by another way.
    here = [str(Path(path).absolute()) for path in [sys.executable, *read]]
    there = [str(Path(path).absolute()) for path in written]
    words = ["sh", "-c", PROBE, "sh", str(len(here)), *here, *there]
    for partition, one in sorted({kind.partition or "": kind for kind in kinds}.items()):
        small = one._replace(gpus=None, mem_mb=100, minutes=1, cpus=1)
        where = f"a node of partition {partition}" if partition else "a node"
        command = ["srun", f"--immediate={PROBE_SECONDS}", "--ntasks=1", "--chdir=/"]
        done = _call(*command, *small.options(), *words, timeout=3 * PROBE_SECONDS)
        found = re.search(r"^probe:(\w+) ?(.*)$", done.stdout, re.MULTILINE)
        if not found:
            last = (done.stderr.strip().splitlines() or ["no answer"])[-1]
            log.warning("could not look at the folders from %s (%s); going on", where, last)
        elif found[1] != "ok":
            problem = "does not see" if found[1] == "missing" else "cannot write"
            raise UserError(
                f"{where} {problem} {found[2]}: checkout, virtual environment, results and scratch "
                f"must lie on a file system that all nodes share; move them, or set `results` in "
                f"the config or `scratch` in {SITE}"
            )


def _grown(first: int | None, retries: int, most: int | None) -> int | None:
    return first and int(min(first * 2**retries, most or math.inf))


def _refused(request: Request) -> str:
    """Return Slurm's words where it would never take a job, else nothing."""
    done = _call("sbatch", "--test-only", *request.options(), "--wrap=true")
    if not done.returncode:
        return ""
    lines = [line for line in done.stderr.splitlines() if "error" in line or "fail" in line]
    words = " ".join(lines or [done.stderr]).strip()
    if re.search(r"unable to contact|timed out|down, drained|socket", words, re.IGNORECASE):
        log.warning("Slurm could not tell whether it would take the jobs: %s", words)
        return ""
    return words


def _advice(words: str, request: Request) -> str:
    """Return what to change so that Slurm takes a job."""
    words, partitions = words.lower(), _partitions()
    if request.partition and request.partition not in partitions:
        key = "gpu_partition" if request.gpus else "partition"
        return f"Set `{key}` in {SITE}; there are: {_listed(partitions)}"
    if "invalid account" in words:
        return f"Set `account` in {SITE}; yours: {_listed(_accounts())}"
    if "invalid qos" in words:
        return f"Set `qos` in {SITE}; `sacctmgr show associations user=$USER format=qos%50` tells"
    if request.gpus:
        models, wanted = _gpu_models(request.partition), request.gpus.rpartition(":")[0]
        if not models or (wanted and wanted not in models):
            return f"Set `gpu_model` or `gpu_partition` in {SITE}; GPUs there: {_listed(models)}"
    return (
        f"Set `max_mem_mb` or `max_runtime` in {SITE} to what a node or your account has; "
        "`sinfo -o '%P %m %c %l'` tells memory, CPUs and time limit of each partition"
    )


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
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"{command[0]} timed out")
