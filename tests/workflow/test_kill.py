"""The whole workflow killed at once, and started again."""

import os
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.slow

SHARD = "results/images/flow-g2-caption/train/rgb/00000"


def test_killed_workflow_goes_on_to_the_same_bytes(checkout):
    before = {
        suffix: (checkout / f"{SHARD}{suffix}").read_bytes() for suffix in (".tar", ".parquet")
    }
    (checkout / f"{SHARD}.tar").unlink()
    command = [sys.executable, "-m", "snakemake", "--configfile", "tiny.yaml", "--cores", "1"]
    process = subprocess.Popen(
        [*command, f"{SHARD}.tar"],
        cwd=checkout.folder,
        env=checkout.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    scratch = checkout / "results/.scratch/generate_images/flow-g2-caption/train/00000"
    deadline = time.monotonic() + 120
    while not any(scratch.glob("*/batch-*.sealed")):
        assert process.poll() is None, "finished before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)  # Snakemake and its jobs
    process.wait()
    assert not (checkout / f"{SHARD}.tar").exists()

    unlocked = checkout.snakemake("--unlock", "--cores", "1")
    assert unlocked.returncode == 0, unlocked.stdout
    again = checkout.snakemake("--cores", "1", f"{SHARD}.tar")
    assert again.returncode == 0, again.stdout
    log = (checkout / "results/logs/generate_images/flow-g2-caption/train/00000.log").read_text()
    assert "going on after" in log
    for suffix, content in before.items():
        assert (checkout / f"{SHARD}{suffix}").read_bytes() == content
