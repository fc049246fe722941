"""What jobs ask for, and what a run on a cluster is told where there is none."""

import dataclasses
import os
import re
from pathlib import Path

import pytest

from synthgap import runs
from synthgap.devices import visible_gpus

SLURM = ("sbatch", "scontrol", "sinfo", "squeue", "srun", "sacct", "scancel", "sacctmgr")
MODEL = "results/classifiers/real/rgb/resnet/seed-0.safetensors"
IMAGES = "results/images/flow-g2-caption/train/rgb/00000.tar"


def resources(checkout, target, *options):
    """Return what a dry run says of a job's resources."""
    result = checkout.snakemake("--dry-run", "--force", target, *options)
    assert result.returncode == 0, result.stdout
    line = re.findall(r"^    resources: (.*)$", result.stdout, re.MULTILINE)[-1]
    return dict(pair.split("=", 1) for pair in line.split(", ") if "=" in pair)


@pytest.fixture
def without_slurm(tmp_path, monkeypatch):
    """Hide Slurm's commands, where this machine has them."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for path in os.environ["PATH"].split(os.pathsep):
        for file in os.scandir(path) if Path(path).is_dir() else ():
            link = folder / file.name
            if file.name not in SLURM and not link.exists() and not link.is_symlink():
                link.symlink_to(file.path)
    monkeypatch.setenv("PATH", str(folder))


def test_a_training_asks_for_a_gpu_of_the_sites_model(finished):
    site = "site={gpu_model: h100, gpu_partition: fast, partition: slow, account: lab, qos: high}"
    asked = resources(finished, MODEL, "--profile", "slurm", "--config", site)
    assert (asked["gpu"], asked["gpu_model"], asked["slurm_partition"]) == ("1", "h100", "fast")
    assert (asked["slurm_account"], asked["qos"]) == ("lab", "high")
    assert asked["slurm_extra"].startswith("--signal=URG@")


def test_a_stage_without_a_gpu_asks_for_none(finished):
    site = "site={gpu_model: h100, gpu_partition: fast, partition: slow}"
    view = "results/images/real/test/low/00000.tar"
    asked = resources(finished, view, "--profile", "slurm", "--config", site)
    assert "gpu" not in asked
    assert "gpu_model" not in asked
    assert asked["slurm_partition"] == "slow"


def test_a_site_without_gpus_gets_no_request_for_one(finished):
    asked = resources(finished, MODEL, "--profile", "slurm", "--config", "site={gpu_model: none}")
    assert asked["gpu"] == "0"
    assert "gpu_model" not in asked


def test_memory_and_time_double_with_each_attempt_up_to_the_sites_limits(finished):
    site = "site={max_mem_mb: 9000, max_runtime: 2000}"
    sizes = [
        [int(asked["mem_mb"]), int(asked["runtime"])]
        for attempt in "123"
        for asked in [resources(finished, MODEL, "--attempt", attempt, "--config", site)]
    ]
    (memory, minutes), second, third = sizes
    assert second == [2 * memory, 2 * minutes]
    assert third == [9000, 2000]


def test_the_profile_is_found_and_a_dry_run_needs_no_slurm(finished, without_slurm):
    result = finished.snakemake("--dry-run", "--profile", "slurm")
    assert result.returncode == 0, result.stdout
    assert "Using profiles slurm" in result.stdout


def test_a_run_without_slurm_stops_with_one_line(checkout, without_slurm):
    (checkout / IMAGES).unlink()
    result = checkout.snakemake("--profile", "slurm", IMAGES)
    assert result.returncode == 1
    assert "error: no sbatch" in result.stdout
    assert "leave the profile out to run on this machine alone" in result.stdout
    assert "Traceback" not in result.stdout
    # Nothing is in the way of the next start.
    assert checkout.snakemake("--cores", "1", IMAGES).returncode == 0


def test_one_machine_runs_as_many_gpu_jobs_as_it_has_gpus(checkout, monkeypatch, tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'GPU 0: a'\necho 'GPU 1: b'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("SYNTHGAP_ON_CPU", "1")
    (checkout / IMAGES).unlink()
    shown = ("--logger-synthgap-style", "snakemake")
    result = checkout.snakemake("--cores", "2", IMAGES, *shown)
    assert result.returncode == 0, result.stdout
    assert re.search(r"Provided resources: gpu=.*2", result.stdout)
    log = checkout / "results/logs/generate_images/flow-g2-caption/train/00000.log"
    assert "--gpus 1" in log.read_text()


def test_without_a_gpu_jobs_compute_on_the_cpu(finished):
    log = finished / "results/logs/train_classifier/real/rgb/resnet/0.log"
    expected = 1 if visible_gpus() else 0
    assert f"--gpus {expected}" in log.read_text()


def test_a_run_that_was_killed_on_a_cluster_has_to_be_settled(checkout, monkeypatch):
    monkeypatch.chdir(checkout.folder)
    snakefile = str(checkout / "Snakefile")
    killed = runs.this_run("synthgap_1", "results", "abc", snakefile, [], [])
    dataclasses.replace(killed, pid=2**22 + 1).note()  # no process has this number
    (checkout / IMAGES).unlink()

    refused = checkout.snakemake("--cores", "1", IMAGES)

    assert refused.returncode == 1
    assert "error: An earlier run here" in refused.stdout
    assert "  python workflow/scripts/settle_run.py wait" in refused.stdout
    assert "Traceback" not in refused.stdout
    assert not (checkout / IMAGES).exists()
    assert checkout.planned(IMAGES)["generate_images"] == 1
    assert checkout.snakemake("--list-target-rules").returncode == 0
