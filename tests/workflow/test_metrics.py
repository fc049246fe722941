"""Encoders and scorers that have weights of their own, on the real Snakefile."""

import json

import pyarrow.parquet as pq
import pytest
import yaml

import tiny_scorers

pytestmark = pytest.mark.slow

SOURCE = "flow-g2-caption"


@pytest.fixture
def study(checkout):
    """The tiny study with a CLIP in a folder that encodes images, and scores them."""
    tiny_scorers.build_clip(checkout / "clip")
    raw = yaml.safe_load((checkout / "tiny.yaml").read_text())
    encoder = {"kind": "pretrained", "model": "./clip", "family": "clip", "image_size": 32}
    raw["encoders"]["clip"] = encoder | {"threads": 1}
    raw["distributions"]["clip"] = {
        "encoder": "clip", "samples": 20, "metrics": ["prdc", "frechet", "kernel"], "few": True,
        "distance": "cosine", "neighbours": 2, "threads": 1,
    }  # fmt: skip
    score = {"preset": "clipscore", "model": "./clip", "threads": 1}
    raw["alignment"] = {"scorers": {"clip": score}, "samples": 10}
    (checkout / "metrics.yaml").write_text(yaml.safe_dump(raw))
    return checkout


@pytest.mark.long
def test_encoder_and_scorer_from_a_folder_reach_the_metrics_table(study):
    done = study.snakemake("--cores", "2", "results/metrics.parquet", config="metrics.yaml")
    assert done.returncode == 0, done.stdout
    found = {
        (row["metric"], row["encoder"], row["test_source"])
        for row in pq.read_table(study / "results/metrics.parquet").to_pylist()
    }
    assert {
        ("density_k2_cosine", "clip", SOURCE),
        ("fd_n20", "clip", "real"),
        ("kd_all_pairs", "clip", SOURCE),
        ("density_k2_euclidean", "classifier", SOURCE),
    } < found
    assert any(name.startswith("clipscore_hessel") for name, *_ in found)
    scores = pq.read_table(study / f"results/alignment/clip/{SOURCE}.parquet")
    assert len(scores) == 10
    told = json.loads((study / f"results/features/clip/{SOURCE}/train/00000.json").read_text())
    assert told["identity"]["family"] == "clip"

    # Other neighbours need no image encoded anew; other weights do.
    text = (study / "metrics.yaml").read_text()
    (study / "metrics.yaml").write_text(text.replace("neighbours: 2", "neighbours: 3"))
    plan = study.planned("results/metrics.parquet", config="metrics.yaml")
    assert plan == {"measure_reference": 2, "measure_distribution": 4, "collect_metrics": 1}
    (study / "metrics.yaml").write_text(text)
    with (study / "clip/config.json").open("a") as file:
        file.write(" ")
    plan = study.planned("results/metrics.parquet", config="metrics.yaml")
    assert plan["extract_features"] == 5
    assert plan["measure_alignment"] == 1


def test_weights_that_are_not_there_are_told_before_any_job(study):
    raw = yaml.safe_load((study / "metrics.yaml").read_text())
    raw["encoders"]["clip"]["model"] = "./elsewhere"
    (study / "metrics.yaml").write_text(yaml.safe_dump(raw))
    done = study.snakemake("--dry-run", config="metrics.yaml")
    assert done.returncode != 0
    assert "encoders.clip" in done.stdout
    assert "./elsewhere is no folder of a" in done.stdout
    assert "Traceback" not in done.stdout
