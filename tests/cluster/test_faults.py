"""What clusters do to jobs: each fault ends in the bytes of an undisturbed run."""

import base64
import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from cluster import wait

pytestmark = pytest.mark.cluster

SHARD = "results/images/flow-g2-caption/train/rgb/00000"
MODEL = "results/classifiers/real/rgb/resnet/seed-0"
MADE = {
    "generate_images": [f"{SHARD}.tar", f"{SHARD}.parquet"],
    "train_classifier": [f"{MODEL}{part}" for part in (".safetensors", ".history.parquet")],
}
LOGS = {
    "generate_images": "results/logs/generate_images/flow-g2-caption/train/00000.log",
    "train_classifier": "results/logs/train_classifier/real/rgb/resnet/0.log",
}


@pytest.fixture
def again(checkout):
    """Return a function that removes what a rule made and starts Snakemake for it alone."""

    def start(rule, *options):
        for file in MADE[rule]:
            (checkout / file).unlink()
        return checkout.start(MADE[rule][0], *options)

    return start


def assert_same_bytes(checkout, finished, rule):
    for file in MADE[rule]:
        assert (checkout / file).read_bytes() == (finished / file).read_bytes(), file


def assert_went_on(checkout, rule):
    """The last attempt did not start from nothing."""
    assert "going on after" in (checkout / LOGS[rule]).read_text()


@pytest.mark.parametrize("rule", MADE)
def test_a_killed_job_is_tried_again_and_goes_on(checkout, finished, again, rule):
    run = again(rule)
    checkout.at_work(rule)
    for pid in checkout.processes(rule):
        os.kill(pid, signal.SIGKILL)
    done = run.wait()
    assert done.returncode == 0, done.output
    assert "Trying to restart job" in done.output
    assert_went_on(checkout, rule)
    assert_same_bytes(checkout, finished, rule)


def test_a_cancelled_job_saves_its_work_and_is_tried_again(checkout, finished, again):
    rule = "generate_images"
    run = again(rule)
    number, _ = checkout.at_work(rule)
    checkout.cluster.run(["scancel", number])
    done = run.wait()
    assert done.returncode == 0, done.output
    assert "SLURM status is: 'CANCELLED'" in done.output
    assert_went_on(checkout, rule)
    assert_same_bytes(checkout, finished, rule)


def test_a_job_over_its_memory_gets_more(checkout, finished, again):
    run = again("generate_images", "--set-resources", "generate_images:mem_mb=600*attempt")
    done = run.wait()
    assert done.returncode == 0, done.output
    assert "SLURM status is:" in done.output
    logs = (checkout / ".snakemake/slurm_logs").rglob("*.log")
    assert any("exceeded memory limit" in log.read_text() for log in logs)
    assert_same_bytes(checkout, finished, "generate_images")


def hold_back(checkout, rule):
    """Halt a job's command in the midst of its work, as if it took long; return its pid."""
    checkout.at_work(rule)
    (pid,) = checkout.processes(rule)
    os.kill(pid, signal.SIGSTOP)
    return pid


def told_to_stop(pid):
    """Say whether the signal ahead of a time limit waits for a halted process, or has ended it."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True
    pending = next(line for line in status.splitlines() if line.startswith("ShdPnd"))
    return bool(int(pending.split()[1], 16) & 1 << (signal.SIGURG - 1))


def test_a_job_near_its_time_limit_saves_its_work_and_goes_on_later(checkout, finished, again):
    rule = "train_classifier"
    # Slurm may send the signal a minute too early: of a limit of one minute, before there is work.
    ahead = f"{rule}:slurm_extra='--signal=URG@30 --open-mode=append'"
    run = again(rule, "--set-resources", f"{rule}:runtime=2", ahead)
    pid = hold_back(checkout, rule)
    wait(lambda: told_to_stop(pid), "the signal ahead of the time limit", 150)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
    done = run.wait()
    assert done.returncode == 0, done.output
    assert "stopped by a signal; finished work is kept" in done.output
    assert "SLURM status is: 'FAILED'" in done.output
    assert_went_on(checkout, rule)
    assert_same_bytes(checkout, finished, rule)


def test_a_job_over_its_time_limit_is_tried_again(checkout, finished, again):
    sudden = "generate_images:slurm_extra='--open-mode=append'"  # no signal ahead
    run = again("generate_images", "--set-resources", "generate_images:runtime=attempt", sudden)
    hold_back(checkout, "generate_images")
    done = run.wait()
    assert done.returncode == 0, done.output
    assert "SLURM status is: 'TIMEOUT'" in done.output
    assert_went_on(checkout, "generate_images")
    assert_same_bytes(checkout, finished, "generate_images")


def test_a_lost_nodes_job_is_run_elsewhere(checkout, finished, again):
    run = again("generate_images")
    _, node = checkout.at_work("generate_images")
    checkout.cluster.kill_node(node)
    try:
        done = run.wait()
    finally:
        checkout.cluster.start_node(node)
    assert done.returncode == 0, done.output
    assert_went_on(checkout, "generate_images")
    assert_same_bytes(checkout, finished, "generate_images")


def test_a_preempted_job_is_run_again(checkout, finished, again):
    run = again("generate_images")
    _, node = checkout.at_work("generate_images")
    urgent = ["sbatch", "--partition=high", f"--nodelist={node}", "--exclusive", "--mem=100"]
    checkout.cluster.run([*urgent, "--output=/dev/null", "--wrap=sleep 5"])
    done = run.wait()
    assert done.returncode == 0, done.output
    assert "Trying to restart job" not in done.output  # Slurm ran it again by itself
    assert_went_on(checkout, "generate_images")
    assert_same_bytes(checkout, finished, "generate_images")


def killed_in_the_midst(checkout, again):
    """Kill Snakemake while its job is at work; the job runs on."""
    run = again("generate_images")
    checkout.at_work("generate_images")
    run.kill()


@pytest.mark.parametrize("unlocked", [False, True])
def test_after_kill_9_of_snakemake_a_restart_is_refused_while_jobs_run(checkout, again, unlocked):
    run = again("generate_images")
    hold_back(checkout, "generate_images")
    run.kill()
    if unlocked:
        checkout.snakemake("--unlock", config="small.yaml")
    refused = checkout.start(f"{SHARD}.tar").wait()
    assert refused.returncode == 1
    assert "python workflow/scripts/settle_run.py wait" in refused.output
    assert "Traceback" not in refused.output
    assert len(checkout.jobs("generate_images")) == 1
    assert checkout.planned(f"{SHARD}.tar", config="small.yaml")  # a dry run may look


def test_settle_cancel_stops_the_jobs_and_the_next_run_goes_on(checkout, finished, again):
    killed_in_the_midst(checkout, again)
    settled = checkout.settle("cancel")
    assert settled.returncode == 0, settled.output
    assert checkout.jobs() == []
    assert checkout.processes("generate_images") == []
    done = checkout.start(f"{SHARD}.tar").wait()
    assert done.returncode == 0, done.output
    assert_went_on(checkout, "generate_images")
    assert_same_bytes(checkout, finished, "generate_images")


def test_settle_wait_keeps_what_the_jobs_finish_and_records_its_options(checkout, finished, again):
    killed_in_the_midst(checkout, again)
    settled = checkout.settle("wait")
    assert settled.returncode == 0, settled.output
    assert "are kept" in settled.output
    made = (checkout / f"{SHARD}.tar").stat().st_mtime_ns
    assert checkout.planned(f"{SHARD}.tar", config="small.yaml") == {}
    assert_same_bytes(checkout, finished, "generate_images")
    # The record is there: another option remakes it.
    checkout.edit("small.yaml", "steps: 60", "steps: 59")
    assert checkout.planned(f"{SHARD}.tar", config="small.yaml")["generate_images"] >= 1
    assert (checkout / f"{SHARD}.tar").stat().st_mtime_ns == made


def test_settle_sets_aside_what_was_finished_under_another_config(checkout, again):
    # As in a first run: of a file that was there before, the old record would tell.
    for file in MADE["generate_images"]:
        record = base64.urlsafe_b64encode(file.encode()).decode()
        (checkout / ".snakemake/metadata" / record).unlink()
    killed_in_the_midst(checkout, again)
    checkout.edit("small.yaml", "guidance_scale: 2.0", "guidance_scale: 3.0")
    settled = checkout.settle("wait")
    assert settled.returncode == 0, settled.output
    assert "are set aside" in settled.output
    assert not (checkout / f"{SHARD}.tar").exists()
    assert (checkout / f"{SHARD}.tar.unrecorded").exists()
