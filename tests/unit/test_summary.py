"""The summary at the end of a run."""

import json
import os
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_up_casd import study
from made_up_metrics import made_up_rows

import summarise_run
from synthgap.job import run
from synthgap.metrics import table
from synthgap.report.headlines import headlines


@pytest.fixture
def results(tmp_path):
    """What a run leaves, as far as the summary looks at it."""
    folder = tmp_path / "results"

    def shard(source, split, name, statuses):
        where = folder / "images" / source / split / "rgb"
        where.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"status": statuses}), where / name)

    shard("real", "train", "manifest.parquet", ["ok"] * 1079)
    shard("real", "train", "00000.parquet", ["ok"] * 1079)
    shard("real", "test", "manifest.parquet", ["ok"] * 539)
    # Not gathered yet, and one image failed.
    shard("flow-g1-caption", "train", "00000.parquet", ["ok", "failed", "ok"])
    shard("left-from-earlier", "train", "manifest.parquet", ["ok"] * 7)
    weights = folder / "classifiers/real/rgb/resnet"
    weights.mkdir(parents=True)
    for name in ("seed-0", "seed-0.last", "seed-1", "seed-1.last"):
        (weights / f"{name}.safetensors").touch()
    (folder / "models").mkdir()
    (folder / "models/flow.history.parquet").touch()
    pq.write_table(table.to_table(made_up_rows()), folder / "metrics.parquet")
    for stage, seconds in {"train_classifier/a": 100, "train_classifier/b": 60, "plot_figure/x": 2,
                           "index_real": 3, "generate_images/y": 90, "write_report": 1,
                           "measure_spectrum/z": 4}.items():  # fmt: skip
        file = folder / f"benchmarks/{stage}.tsv"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"s\th:m:s\tmax_rss\n{seconds}\t0:00:00\t-\n")
    os.utime(folder / "benchmarks/index_real.tsv", (1000, 1000))
    (folder / "report.html").touch()
    return folder


SOURCES = {"real": ["real"], "synthetic": ["flow-g1-caption"], "composite": ["cutmix-half"]}


def summarise(results, monkeypatch, capsys, *options):
    command = ["--results", results, "--sources", json.dumps(SOURCES), "--jobs", 7]
    # A process keeps its log to itself, so that each call here has another.
    log = results / f"logs/{len(list(results.glob('logs/*')))}.log"
    command += ["--began", 2000, "--log", log, *options]
    monkeypatch.setattr(sys, "argv", ["summarise_run.py", *map(str, command)])
    run(summarise_run.options(), summarise_run.main)
    captured = capsys.readouterr()
    assert not captured.err
    return captured.out


def test_a_run_with_a_report(results, monkeypatch, capsys):
    text = summarise(results, monkeypatch, capsys, "--report", results / "report.html")
    lines = text.splitlines()
    assert len(lines) <= 25
    # The report's address stays whole, however long.
    assert max(len(line) for line in lines if "file://" not in line) <= 100
    assert lines[1].startswith("Done: 7 jobs in ")
    assert "images        1,618 real, 2 synthetic" in lines
    assert "trained       2 classifiers, 1 image model" in lines
    assert any(line.endswith(" in metrics.parquet") for line in lines)
    assert "train classifier 3 min, generate images 90 s" in text
    assert "2 other stages 3 s; together 4 min of 7 jobs" in " ".join(text.split())
    assert "better training data?" in text
    assert "  No: here, the training data get worse." in lines
    assert f"The report    file://{results}/report.html" in lines
    assert "snakemake compare --config compare_with=FOLDER" in text
    example = summarise(
        results, monkeypatch, capsys, "--report", results / "report.html", "--example"
    )
    assert "snakemake -n" in example


def test_a_run_short_of_a_report_gets_two_lines(results, monkeypatch, capsys):
    lines = summarise(results, monkeypatch, capsys).splitlines()
    assert len(lines) == 4
    assert lines[1].startswith("Done: 7 jobs in ")
    # The one job that an earlier run did is not of this one.
    assert lines[-1].endswith("of 6 jobs") or lines[2].endswith("of 6 jobs")


def test_whatever_is_wrong_the_run_has_not_failed(results, monkeypatch, capsys):
    (results / "metrics.parquet").write_text("no table")
    text = summarise(results, monkeypatch, capsys, "--report", results / "report.html")
    assert "Done. No summary could be made" in text
    assert "is not a parquet file" in (results / "logs/0.log").read_text()
    # Without any result, and with a benchmark that a kill cut short.
    (results / "metrics.parquet").unlink()
    (results / "benchmarks/index_real.tsv").write_text("s\n")
    text = summarise(results, monkeypatch, capsys, "--report", results / "report.html")
    assert "metrics.parquet" not in text


def test_each_study_has_a_headline():
    found = headlines(made_up_rows())
    assert found[0].answer == "No: here, the training data get worse."
    assert len(found[0].findings) == 3
    assert "points (" in found[0].findings[0]
    casd = headlines(study())
    assert casd[-1].question == "Do synthetic images help a diffusion model?"
    assert headlines([]) == []
