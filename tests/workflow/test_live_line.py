"""What Snakemake shows of a run of the real Snakefile, on a terminal and without one."""

import re
import shutil
from pathlib import Path

import pytest

from checkout import Checkout, copy_checkout
from in_terminal import snakemake_in_terminal

SHARD = "results/images/real/train/rgb/00000.tar"
MANIFEST = "results/images/real/train/rgb/manifest.parquet"
AUTOENCODER = "results/autoencoders/small"
LINE = re.compile(r"\d+/\d+ jobs \d+ %")


@pytest.fixture(scope="module")
def fresh(tmp_path_factory) -> Checkout:
    """A checkout with the first shard of real images."""
    checkout = copy_checkout(tmp_path_factory.mktemp("live"))
    shutil.copy2(Path(__file__).parent / "tiny.yaml", checkout.folder)
    result = checkout.snakemake(SHARD)
    assert result.returncode == 0, result.stdout
    return checkout


@pytest.fixture
def begun(fresh, tmp_path) -> Checkout:
    shutil.copytree(fresh.folder, tmp_path / "checkout", symlinks=True)
    return Checkout(tmp_path / "checkout")


def damage(checkout):
    tar = checkout / SHARD
    tar.write_bytes(tar.read_bytes()[:5000])


def test_one_line_is_rewritten_on_a_terminal(begun):
    shown = snakemake_in_terminal(begun, "--cores", "1", MANIFEST, columns=60)
    assert shown.status == 0
    assert "looking what there is to do" in shown.written
    assert "\r0/2 jobs 0 %" in shown.written
    assert "prepare real" in shown.written
    assert "\r1/2 jobs 50 %" in shown.written
    assert "images/s" in shown.written
    lines = [part for part in re.split(r"[\r\n]", shown.written) if LINE.match(part)]
    assert max(map(len, lines)) < 60
    # It is gone in the end, and nothing of Snakemake's own is there.
    assert not any(LINE.search(line) for line in shown.screen)
    text = "\n".join(shown.screen)
    for left_out in ("rule prepare_real", "Job stats", "Finished jobid", "Building DAG", "Host:"):
        assert left_out not in text
    # No terminal is touched but by carriage returns and colours.
    assert not re.search(r"\x1b(?!\[\d*m)", shown.written)


def test_without_a_terminal_there_are_few_plain_lines(begun):
    result = begun.snakemake("--cores", "1", MANIFEST)
    assert result.returncode == 0, result.stdout
    assert "\r" not in result.stdout
    assert "\x1b" not in result.stdout
    told = [line for line in result.stdout.splitlines() if LINE.search(line)]
    assert len(told) == 2
    assert re.match(r"prepare real: done · 1/2 jobs 50 % · [\d.]+ images/s", told[0])
    assert told[1].startswith("gather shards: done · 2/2 jobs 100 %")
    assert "rule prepare_real" not in result.stdout
    log = next((begun / ".snakemake/log").glob("*"))
    assert "rule prepare_real" in max((begun / ".snakemake/log").glob("*")).read_text(), log


@pytest.mark.parametrize("terminal", [True, False])
def test_a_failed_job_is_told_in_full(begun, terminal):
    damage(begun)
    if terminal:
        shown = snakemake_in_terminal(begun, "--cores", "1", MANIFEST)
        status, lines = shown.status, shown.screen
        assert shown.screen[-1] == ""
        assert "1 failed" in shown.written
    else:
        result = begun.snakemake("--cores", "1", MANIFEST)
        status, lines = result.returncode, result.stdout.splitlines()
    assert status == 1
    # The job's own line, which it writes to standard error itself.
    assert sum(line == f"error: {SHARD} is damaged" or line.startswith("error: ") for line in lines)
    assert "Error in rule gather_shards:" in lines
    assert "Logfile results/logs/gather_shards/real/train/rgb.log:" in lines
    assert any("At least one job did not complete successfully" in line for line in lines)
    assert not any("Traceback" in line for line in lines)


def test_ctrl_c_leaves_the_terminal_whole(begun):
    # A job that takes some seconds, so that it is at work when the keys come.
    keys = {"keys": b"\x03", "after": "train autoencoder"}
    shown = snakemake_in_terminal(begun, "--cores", "1", AUTOENCODER, **keys)
    assert shown.status == 1
    assert "Terminating processes on user request" in shown.written
    assert shown.screen[-1] == ""
    assert not any(LINE.match(line) for line in shown.screen)
    # And what was cut short is made by the next run.
    assert begun.snakemake("--cores", "1", AUTOENCODER).returncode == 0


def test_a_dry_run_prints_what_snakemake_prints(begun):
    ours = begun.snakemake("--dry-run", MANIFEST)
    options = ("--workflow-profile", "none", "--scheduler", "greedy", "--cores", "1")
    theirs = begun.snakemake("--dry-run", MANIFEST, *options)
    plain = re.compile(r"^(Using workflow|  Command|  Date|  Workflow ID|\[|Elapsed).*\n", re.M)
    assert plain.sub("", ours.stdout) == plain.sub("", theirs.stdout)
    assert "rule prepare_real" in ours.stdout


def test_a_plan_and_a_mistake_are_told_as_ever(begun):
    planned = snakemake_in_terminal(begun, "plan")
    assert planned.status == 0
    assert any(line.startswith("train_autoencoder") for line in planned.screen)
    assert "localrule plan:" in planned.screen
    assert any(line.startswith("All columns, sources") for line in planned.screen)
    wrong = begun.snakemake("nonsense")
    assert wrong.returncode == 1
    assert "No rule to produce nonsense" in wrong.stdout


def test_snakemakes_own_output_can_be_had(begun):
    result = begun.snakemake(
        "--cores", "1", MANIFEST, "--logger-synthgap-style", "snakemake", "--nocolor"
    )
    assert result.returncode == 0
    assert "rule prepare_real:" in result.stdout
    assert "2 of 2 steps (100%) done" in result.stdout
    assert not LINE.search(result.stdout)


def test_jobs_show_no_line_of_their_own(begun):
    """Processes that Snakemake starts for single jobs, here and on a cluster's nodes."""
    for mode in ("subprocess", "remote"):
        (begun / SHARD).unlink()
        result = begun.snakemake("--cores", "1", SHARD, "--mode", mode, "--nolock")
        assert result.returncode == 0, result.stdout
        assert not LINE.search(result.stdout)
