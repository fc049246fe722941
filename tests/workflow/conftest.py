"""A finished run of the real Snakefile at a tiny size, made once and copied for each test."""

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from checkout import Checkout, copy_checkout

HERE = Path(__file__).parent


def made_once(tmp_path_factory, config: str, *targets: str) -> Checkout:
    """A checkout in which a config of this folder has been made; tests only look at it.

    Test processes that run side by side share it: the first makes it, the others wait.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder = shared / f"finished-{Path(config).stem}"
    whole = folder / "made"
    with (shared / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not whole.exists():
            folder.mkdir(exist_ok=True)
            checkout = copy_checkout(folder)
            shutil.copy2(HERE / config, folder)
            result = checkout.snakemake("--cores", "2", *targets, config=config)
            assert result.returncode == 0, result.stdout[-5000:]
            whole.touch()
    return Checkout(folder)


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Checkout:
    """Studies A and C with all that goes with them."""
    return made_once(tmp_path_factory, "tiny.yaml")


@pytest.fixture(scope="session")
def study_b(tmp_path_factory) -> Checkout:
    """Study B."""
    return made_once(tmp_path_factory, "tiny-text-to-image.yaml", "all")


@pytest.fixture(scope="session")
def study_d(tmp_path_factory) -> Checkout:
    """Study D."""
    return made_once(tmp_path_factory, "tiny-casd.yaml", "report")


@pytest.fixture
def checkout(finished, tmp_path) -> Checkout:
    """A copy of the finished run that a test may change."""
    # Other tests may look at it meanwhile; what comes and goes then is left out.
    passing = shutil.ignore_patterns("__pycache__", "log", "locks", "tmp*")
    shutil.copytree(finished.folder, tmp_path / "checkout", symlinks=True, ignore=passing)
    return Checkout(tmp_path / "checkout")
