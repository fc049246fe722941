"""A finished run of the real Snakefile at a tiny size, made once and copied for each test."""

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from checkout import Checkout, copy_checkout

TINY = Path(__file__).with_name("tiny.yaml")


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
            shutil.copy2(TINY, folder / "tiny.yaml")
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
