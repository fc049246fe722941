"""Slurm's commands, played by scripts: what is asked of them, and what is made of their words."""

import logging
import sys

import pytest

from synthgap import slurm
from synthgap.config.site import Site
from synthgap.errors import UserError

REQUEST = slurm.Request(
    account="lab", partition="gpu", qos=None, constraint=None, gpus="h100:1", mem_mb=4000,
    minutes=60, cpus=4,
)  # fmt: skip


@pytest.fixture
def site_has(tmp_path, monkeypatch):
    """Return a function that gives a command of Slurm; first a small site of its own."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def give(name, script):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)

    give("sinfo", 'case "$*" in *%R*) echo cpu; echo gpu ;; *) echo gpu:h100:4 ;; esac')
    give("sacctmgr", "echo lab")
    give("scontrol", "echo 'MinJobAge = 300 sec'")
    give("sbatch", "exit 0")
    return give


def test_a_jobs_resources_become_the_options_of_sbatch():
    resources = {
        "mem_mb": 4000, "runtime": 60, "cpus_per_task": 4, "gpu": 1, "gpu_model": "h100",
        "slurm_account": "lab", "slurm_partition": "gpu", "tmpdir": "/tmp",
    }  # fmt: skip
    assert slurm.Request.of(resources) == REQUEST
    assert slurm.Request.of({"mem_mb": 100, "gpu": 0}).options() == ["--mem=100"]
    assert "--gpus=h100:1" in REQUEST.options()


@pytest.mark.parametrize(
    ("change", "words", "advice"),
    [
        ({"partition": "fast"}, "invalid partition specified: fast", "Set `gpu_partition`"),
        ({}, "Invalid account or account/partition combination", "Set `account` in"),
        ({}, "Invalid qos specification", "Set `qos` in"),
        ({"gpus": "a100:1"}, "Requested node configuration is not available", "GPUs there: h100"),
        ({}, "Requested node configuration is not available", "Set `max_mem_mb` or `max_runtime`"),
        ({}, "Job violates accounting/QOS policy (job submit limit)", "Set `max_mem_mb` or"),
        ({}, "Requested partition configuration not available now", "Set `max_mem_mb` or"),
    ],
)
def test_a_refusal_is_told_with_what_to_change(site_has, change, words, advice):
    site_has("sbatch", f"echo 'allocation failure: {words}' >&2; exit 1")
    with pytest.raises(UserError) as error:
        slurm.check_requests({REQUEST._replace(**change): "train"}, retries=0, site=Site())
    assert "Slurm would refuse the jobs of train (--account=lab" in str(error.value)
    assert words in str(error.value)
    assert advice in str(error.value)


def test_a_slurm_that_does_not_answer_or_has_nodes_down_refuses_nothing(site_has, caplog):
    site_has("sbatch", "echo 'error: Unable to contact slurm controller' >&2; exit 1")
    with caplog.at_level(logging.WARNING):
        slurm.check_requests({REQUEST: "train"}, retries=0, site=Site())
    assert "could not tell" in caplog.text


def test_what_only_the_last_retry_asks_for_is_warned_of(site_has, caplog):
    site_has("sbatch", 'case "$*" in *--time=480*) echo "failure: time" >&2; exit 1 ;; esac')
    with caplog.at_level(logging.WARNING):
        slurm.check_requests({REQUEST: "train"}, retries=3, site=Site())
    assert "32000 MB and 480 minutes" in caplog.text
    caplog.clear()
    slurm.check_requests({REQUEST: "train"}, retries=3, site=Site(max_runtime=240))
    assert caplog.text == ""


def test_a_site_that_forgets_jobs_soon_is_warned_of(site_has, caplog):
    site_has("scontrol", "echo 'MinJobAge = 60 sec'")
    with caplog.at_level(logging.WARNING):
        slurm.check_requests({REQUEST: "train"}, retries=0, site=Site())
    assert "MinJobAge" in caplog.text


def test_folders_are_looked_at_from_a_node(site_has, tmp_path, monkeypatch):
    # The node is this machine: srun runs what follows its own options.
    site_has("srun", 'while [ "$1" != sh ]; do shift; done; exec "$@"')
    results = tmp_path / "results"
    slurm.check_folders([REQUEST], written=[str(results)], read=[str(tmp_path)])
    assert list(results.iterdir()) == []
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(UserError, match="partition gpu does not see /nowhere/python"):
        slurm.check_folders([REQUEST], written=[str(results)], read=[str(tmp_path)])


def test_a_folder_that_a_node_cannot_write_is_named(site_has, tmp_path):
    site_has("srun", "echo probe:unwritable /scratch")
    with pytest.raises(UserError, match="partition gpu cannot write /scratch"):
        slurm.check_folders([REQUEST], written=[str(tmp_path)], read=[])


def test_no_free_node_is_no_reason_to_stop(site_has, tmp_path, caplog):
    site_has("srun", "echo 'srun: error: Immediate execution impossible' >&2; exit 1")
    with caplog.at_level(logging.WARNING):
        slurm.check_folders([REQUEST], written=[str(tmp_path)], read=[])
    assert "Immediate execution impossible" in caplog.text


def test_a_folder_that_cannot_be_made_here_is_named(site_has):
    with pytest.raises(UserError, match="/proc/scratch cannot be written"):
        slurm.check_folders([REQUEST], written=["/proc/scratch"], read=[])


def test_waiting_outlives_a_queue_that_is_silent_for_a_while(site_has, tmp_path, monkeypatch):
    monkeypatch.setattr(slurm.time, "sleep", lambda seconds: None)
    silent = f"[ -e {tmp_path}/twice ] && exit 0; [ -e {tmp_path}/once ] && touch {tmp_path}/twice"
    site_has("squeue", f"{silent}; touch {tmp_path}/once; echo slow >&2; exit 1")
    assert slurm.wait_until_gone("run", most_seconds=60)


def test_a_queue_that_stays_silent_is_told(site_has):
    site_has("squeue", "echo no controller >&2; exit 1")
    with pytest.raises(UserError, match="no controller"):
        slurm.wait_until_gone("run", most_seconds=0)


def test_jobs_are_read_from_the_queue(site_has):
    site_has("squeue", "echo '7|RUNNING|rule_generate_images_wildcards_a|b'")
    assert slurm.queued("run") == [
        slurm.QueuedJob("7", "RUNNING", "rule_generate_images_wildcards_a|b")
    ]
    assert not slurm.wait_until_gone("run", most_seconds=0)


def test_without_slurm_the_message_says_where_to_go(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="no sbatch and no squeue and no srun on this machine"):
        slurm.require_slurm()
