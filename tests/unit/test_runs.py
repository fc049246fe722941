"""Notes of runs: who may start, and who has to settle first."""

import json
import os
import platform
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from snakemake.persistence.file import FilePersistence

from synthgap import runs
from synthgap.errors import UserError


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return the note of a run of this process, not yet written down."""
    monkeypatch.chdir(tmp_path)
    return runs.this_run(
        "synthgap_1-2", "results", "abc", tmp_path / "Snakefile", [tmp_path / "a.yaml"], ["seed=1"]
    )


@pytest.fixture
def ended():
    """Return the pid of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_a_run_is_noted_by_its_results_and_forgotten(run):
    run.note()
    assert runs.unsettled("results") == [run]
    assert runs.unsettled("other") == []
    run.forget()
    assert runs.unsettled() == []


def test_a_run_at_work_keeps_others_out(run):
    run.note()
    assert run.lives()
    assert "is at work here already" in runs.refusal("results")
    assert runs.refusal("other") is None


def test_a_run_that_was_killed_has_to_be_settled(run, ended):
    replace(run, pid=ended).note()
    refusal = runs.refusal("results")
    assert "  python workflow/scripts/settle_run.py wait " in refusal
    assert "  python workflow/scripts/settle_run.py cancel " in refusal
    assert runs.refusal("other") is None


def test_the_command_is_whole_where_snakemake_worked_elsewhere(run, ended):
    replace(run, pid=ended, snakefile="/lab/synthgap/Snakefile").note()
    command = f"cd {Path.cwd()} && python /lab/synthgap/workflow/scripts/settle_run.py wait"
    assert command in runs.refusal("results")


def test_another_process_with_the_same_pid_is_not_the_run(run):
    replace(run, process_started=1.0).note()
    assert "settle_run.py" in runs.refusal("results")


def test_a_run_of_another_host_may_live_or_not(run):
    other = replace(run, host="login2")
    other.note()
    assert other.lives() is None
    assert "on login2" in runs.refusal("results")
    assert "wait --process-is-gone" in runs.refusal("results")


def test_the_note_is_plain_json(run):
    run.note()
    noted = json.loads((runs.FOLDER / "synthgap_1-2.json").read_text())
    assert noted["host"] == platform.node()
    assert noted["pid"] == os.getpid()
    assert noted["config"] == ["seed=1"]


@pytest.mark.parametrize("text", ["{}", "{", "[1]"])
def test_a_note_that_cannot_be_read_is_named(run, text):
    runs.FOLDER.mkdir(parents=True)
    (runs.FOLDER / "x.json").write_text(text)
    with pytest.raises(UserError, match=r"x\.json is not the note of a run"):
        runs.unsettled()


def test_settings_change_with_config_and_rules(tmp_path):
    (tmp_path / "a.smk").write_text("rule all:\n")
    before = runs.settings_digest("{}", tmp_path)
    assert runs.settings_digest("{}", tmp_path) == before
    assert runs.settings_digest('{"seed": 1}', tmp_path) != before
    (tmp_path / "a.smk").write_text("rule none:\n")
    assert runs.settings_digest("{}", tmp_path) != before


def test_files_made_after_their_record_are_known(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keeper = object.__new__(FilePersistence)  # its names of records, and nothing else of it
    keeper._max_len = None
    runs.RECORDS.mkdir(parents=True)
    for file in [tmp_path / "short", tmp_path / ("long" * 60)]:
        file.touch()
        assert runs.newer_than_record(file)
        record = Path(keeper._record_path(str(runs.RECORDS), str(file)))
        record.parent.mkdir(exist_ok=True, parents=True)
        record.touch()
        assert not runs.newer_than_record(file)
        os.utime(record, (1, 1))
        assert runs.newer_than_record(file)
