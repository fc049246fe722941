"""Which device a job gets; the GPUs are played by files and environment variables."""

import fcntl
import subprocess
import sys

import pytest
import torch

from synthgap import devices
from synthgap.errors import UserError


@pytest.fixture(autouse=True)
def outside(monkeypatch, tmp_path):
    """No cluster's or user's environment, and locks in a folder of the test's own."""
    names = ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID", "SYNTHGAP_ON_CPU", "SYNTHGAP_JOBS_PER_GPU")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: str(tmp_path))
    yield
    for file in devices._held:
        file.close()
    devices._held.clear()


@pytest.mark.parametrize(
    ("value", "gpus"), [("0,1", ["0", "1"]), ("GPU-a1b2", ["GPU-a1b2"]), ("", []), ("-1", [])]
)
def test_the_environment_says_which_gpus_are_visible(monkeypatch, value, gpus):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert devices.visible_gpus() == gpus


def test_nvidia_smi_is_asked_otherwise(monkeypatch, tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA H100'\necho 'GPU 1: NVIDIA H100'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert devices.visible_gpus() == ["0", "1"]


@pytest.fixture
def no_cuda(monkeypatch):
    """Let torch find no GPU, whatever this machine has."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.parametrize("gpus", [0, None])
def test_without_a_gpu_jobs_compute_on_the_cpu(no_cuda, gpus):
    assert devices.take_device(gpus) == "cpu"


def test_a_gpu_that_torch_cannot_find_is_an_error_unless_done_without(no_cuda, monkeypatch):
    with pytest.raises(UserError, match="finds none: look at `nvidia-smi`"):
        devices.take_device(1)
    monkeypatch.setenv("SYNTHGAP_ON_CPU", "1")
    assert devices.take_device(1) == "cpu"


def test_processes_side_by_side_take_a_gpu_each(tmp_path):
    code = (
        "import sys, tempfile; from synthgap import devices\n"
        f"devices.tempfile.gettempdir = lambda: {str(tmp_path)!r}\n"
        "print(devices._lock_one(['0', '1']), flush=True); sys.stdin.read()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    started = [subprocess.Popen([sys.executable, "-c", code], **pipes) for _ in range(2)]
    assert {process.stdout.readline().strip() for process in started} == {"0", "1"}
    # All taken: a third would wait until one has ended.
    folder = next(tmp_path.glob("synthgap-gpus-*"))
    for name in ("0.0", "1.0"):
        with (folder / name).open("a") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    for process in started:
        process.communicate("")
    assert devices._lock_one(["0", "1"]) == "0"


def test_so_many_processes_share_a_gpu_as_the_site_says(monkeypatch):
    monkeypatch.setenv("SYNTHGAP_JOBS_PER_GPU", "2")
    assert [devices._lock_one(["0", "1"]) for _ in range(4)] == ["0", "1", "0", "1"]
    monkeypatch.setattr(devices.time, "sleep", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        devices._lock_one(["0", "1"])
    monkeypatch.setenv("SYNTHGAP_JOBS_PER_GPU", "none")
    with pytest.raises(UserError, match="whole number of 1 or more: none"):
        devices.jobs_per_gpu()


def test_a_single_gpu_as_a_cluster_gives_it_needs_no_lock(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert devices.take_device(1) == "cuda"
    assert devices._held == []


def test_on_one_machine_a_job_sees_its_own_gpu_alone(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert devices.take_device(1) == "cuda"
    assert devices.os.environ["CUDA_VISIBLE_DEVICES"] == "2"
