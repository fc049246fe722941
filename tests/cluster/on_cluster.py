"""A checkout whose Snakemake runs on the test cluster, and what its jobs are doing there."""

import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from checkout import Checkout, copy_checkout
from cluster import Cluster, wait

# Two jobs of ours fit in a node's 4000 MB.
SITE = """\
partition: cpu
gpu_partition: gpu
gpu_model: h100
max_mem_mb: 1900
max_runtime: 30
"""


@dataclass
class Done:
    """A run that ended."""

    returncode: int
    output: str


class Started:
    """A Snakemake at work, in the background."""

    def __init__(self, command: list[str], folder: Path, environment: dict[str, str]) -> None:
        self.log = folder / f"snakemake-{time.monotonic_ns()}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def wait(self, seconds: float = 900) -> Done:
        """Wait for its end."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(
                f"not done in {seconds} s:\n{self.log.read_text()[-5000:]}"
            ) from None
        return Done(code, self.log.read_text())

    def kill(self) -> None:
        """End it with SIGKILL, as a reboot would."""
        self.process.kill()
        self.process.wait()


@dataclass
class OnCluster(Checkout):
    """A checkout on the cluster's shared file system."""

    cluster: Cluster
    started: list[Started] = field(default_factory=list)
    allocations: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def copied(cls, folder: Path, cluster: Cluster) -> "OnCluster":
        return cls(copy_checkout(folder).folder, cluster)

    def environment(self) -> dict[str, str]:
        # The cluster's GPUs are make-believe.
        return (
            self.cluster.environment()
            | super().environment()
            | {
                "SLURM_CONF": f"{self.cluster.folder}/slurm.conf",
                "PATH": f"{Path(sys.executable).parent}:{self.cluster.environment()['PATH']}",
                "SYNTHGAP_ON_CPU": "1",
            }
        )

    def start(self, *options: str, config: str = "small.yaml") -> Started:
        """Start the command that a user types, with shorter waiting times."""
        command = [sys.executable, "-m", "snakemake", "--profile", "slurm", *options]
        command += ["--slurm-init-seconds-before-status-checks", "2", "--configfile", config]
        self.started.append(Started(command, self.folder, self.environment()))
        return self.started[-1]

    def end(self) -> None:
        """Kill what is still at work, as after a failed test."""
        for started in self.started:
            started.kill()
        self.cluster.run(["scancel", "--user=root"])
        wait(lambda: not self.jobs(), "all jobs to end")

    def settle(self, how: str) -> Done:
        """Run the command that the refusal names."""
        command = [sys.executable, "workflow/scripts/settle_run.py", how]
        return Started(command, self.folder, self.environment()).wait(300)

    def jobs(self, what: str = "") -> list[list[str]]:
        """Return number, state and node of this checkout's jobs that wait or run."""
        listed = self.cluster.run(["squeue", "--noheader", "--format=%i|%T|%N|%Z|%k"]).stdout
        rows = [line.split("|") for line in listed.splitlines()]
        return [row[:3] for row in rows if row[3] == str(self.folder) and what in row[4]]

    def submissions(self) -> int:
        """Return how often Snakemake's own logs tell of a job that was given to Slurm."""
        logs = (self / ".snakemake/log").glob("*.log")
        return sum(log.read_text().count("has been submitted with SLURM jobid") for log in logs)

    def note_allocations(self, last_rule: str) -> None:
        """Keep each job's rule and resources, as the accounting has them once it has the last."""
        command = ["sacct", "--allusers", "--noheader", "--allocations", "--parsable2"]

        def complete() -> bool:
            listed = self.cluster.run([*command, "--format=WorkDir,Comment,AllocTRES"]).stdout
            rows = [line.split("|") for line in listed.splitlines()]
            self.allocations = [
                (comment.removeprefix("rule_").split("_wildcards_")[0], resources)
                for folder, comment, resources in rows
                if folder == str(self.folder) and comment
            ]
            return any(rule == last_rule for rule, _ in self.allocations)

        wait(complete, f"the accounting to know {last_rule}")

    def at_work(self, what: str) -> tuple[str, str]:
        """Wait until a job of a rule is in the midst of its work; return number and node."""
        wait(lambda: any(self.unfinished(what)), f"unfinished work of {what}", 180)
        number, _, node = next(row for row in self.jobs(what) if row[1] == "RUNNING")
        return number, node

    def unfinished(self, what: str) -> list[Path]:
        """Return the files of a rule's unfinished work."""
        return [
            path
            for path in (self / f"results/.scratch/{what}").rglob("*")
            if path.suffix in (".pt", ".sealed") and path.name[0] != "."
        ]

    def processes(self, what: str) -> list[int]:
        """Return the processes of this checkout that run a rule's command."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                words = (entry / "cmdline").read_bytes().decode().split("\0")
                here = (entry / "cwd").readlink() == self.folder
            except OSError:
                continue  # ended meanwhile
            if here and any(word.endswith(f"/scripts/{what}.py") for word in words[:3]):
                found.append(int(entry.name))
        return found
