"""Notes of runs: who may start, and who has to settle first."""

import json
import os
import platform
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from synthgap import runs

LOG = "Building DAG of jobs...\nSLURM run ID: synthgap_1-2\nUsing shell: /bin/bash\n"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return the note of a run of this process, not yet written down."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log").write_text(LOG)
    return runs.this_run(tmp_path / "log", "results", "abc", [tmp_path / "a.yaml"], ["seed=1"])


@pytest.fixture
def ended():
    """Return the pid of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_a_run_is_known_by_the_name_of_its_jobs(run):
    assert run.name == "synthgap_1-2"
    run.note()
    assert runs.unsettled("results") == [run]
    assert runs.unsettled("other") == []
    run.forget()
    assert runs.unsettled() == []


def test_a_run_at_work_is_left_to_snakemakes_lock(run):
    run.note()
    assert run.lives()
    assert runs.refusal("results") is None


def test_a_run_that_was_killed_has_to_be_settled(run, ended):
    replace(run, pid=ended).note()
    refusal = runs.refusal("results")
    assert "settle_run.py wait" in refusal
    assert "settle_run.py cancel" in refusal
    assert runs.refusal("other") is None


def test_another_process_with_the_same_pid_is_not_the_run(run):
    replace(run, began="1").note()
    assert "settle_run.py" in runs.refusal("results")


def test_a_run_of_another_host_may_live_or_not(run):
    other = replace(run, host="login2")
    other.note()
    assert other.lives() is None
    assert "on login2" in runs.refusal("results")


def test_the_note_is_plain_json(run):
    run.note()
    noted = json.loads((runs.FOLDER / "synthgap_1-2.json").read_text())
    assert noted["host"] == platform.node()
    assert noted["pid"] == os.getpid()
    assert noted["config"] == ["seed=1"]


def test_a_log_without_a_run_id_is_a_bug_and_not_hidden(tmp_path):
    (tmp_path / "log").write_text("nothing\n")
    with pytest.raises(RuntimeError, match="does not tell the run's id"):
        runs.this_run(tmp_path / "log", "results", "abc", [], [])


def test_settings_change_with_config_and_code_and_not_with_bytecode(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "workflow").mkdir()
    (tmp_path / "Snakefile").write_text("rule all:\n")
    code = tmp_path / "src/a.py"
    code.write_text("x = 1\n")
    before = runs.settings_digest("{}", tmp_path)
    (tmp_path / "src/a.pyc").write_bytes(b"1")
    assert runs.settings_digest("{}", tmp_path) == before
    assert runs.settings_digest('{"seed": 1}', tmp_path) != before
    code.write_text("x = 2\n")
    assert runs.settings_digest("{}", tmp_path) != before


def test_files_made_after_their_record_are_known(tmp_path, monkeypatch):
    from snakemake.persistence.file import FilePersistence

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
