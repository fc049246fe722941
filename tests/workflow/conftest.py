"""A finished run of the real Snakefile at a tiny size, made once and copied for each test."""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TINY = Path(__file__).with_name("tiny.yaml")
PARTS = ("Snakefile", "workflow", "src", "config", "profiles", "envs")


@dataclass
class Checkout:
    """A checkout of the project with its results."""

    folder: Path

    def __truediv__(self, path: str) -> Path:
        return self.folder / path

    def environment(self) -> dict[str, str]:
        return os.environ | {"PYTHONPATH": str(self.folder / "src")}

    def snakemake(self, *options: str, config: str = "tiny.yaml") -> subprocess.CompletedProcess:
        """Run the command that a user types; standard error joins standard output."""
        command = [sys.executable, "-m", "snakemake", *options, "--configfile", config]
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
        )

    def planned(self, *options: str) -> dict[str, int]:
        """Return how many jobs of each rule a dry run plans."""
        result = self.snakemake("--dry-run", "--quiet", "rules", *options)
        assert result.returncode == 0, result.stdout
        table = re.findall(r"^([a-z_]+) +(\d+)$", result.stdout, re.MULTILINE)
        counts = {rule: int(count) for rule, count in table if rule != "total"}
        assert counts or "Nothing to be done" in result.stdout, result.stdout
        return {rule: count for rule, count in counts.items() if rule != "all"}

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace text in a file, which must hold it."""
        text = (self / path).read_text()
        assert old in text
        (self / path).write_text(text.replace(old, new))


def copy_checkout(folder: Path) -> Checkout:
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=ignored)
        else:
            shutil.copy2(ROOT / part, folder / part)
    shutil.copy2(TINY, folder / "tiny.yaml")
    return Checkout(folder)


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Checkout:
    """A checkout in which everything has been made; tests only look at it.

    Test processes that run side by side share it: the first makes it, the others wait.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder = shared / "finished"
    with (shared / "finished.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "results/report.html").exists():
            folder.mkdir(exist_ok=True)
            checkout = copy_checkout(folder)
            result = checkout.snakemake("--cores", "2")
            assert result.returncode == 0, result.stdout[-5000:]
    return Checkout(folder)


@pytest.fixture
def checkout(finished, tmp_path) -> Checkout:
    """A copy of the finished run that a test may change."""
    # Other tests may look at it meanwhile; what comes and goes then is left out.
    passing = shutil.ignore_patterns("__pycache__", "log", "locks", "tmp*")
    shutil.copytree(finished.folder, tmp_path / "checkout", symlinks=True, ignore=passing)
    return Checkout(tmp_path / "checkout")
