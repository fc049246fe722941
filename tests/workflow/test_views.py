"""Views that need a model, and views of several images each, on the real Snakefile."""

import json
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
import yaml

from fake_hub import FakeHub, Repo
from tiny_depth import build

pytestmark = pytest.mark.slow

DEPTH = "results/images/real/test/deep/00000.tar"
CROPS = "results/images/real/test/crops/manifest.parquet"


@pytest.fixture
def study(checkout):
    """The tiny study with views that no probe uses: depth of a hub's model, and random crops."""
    raw = yaml.safe_load((checkout / "tiny.yaml").read_text())
    deep = {"kind": "depth", "model": "lab/depth", "input_size": 42, "threads": 1, "bits": 16}
    raw["views"] |= {"deep": deep, "crops": {"kind": "random_crops", "size": 16}}
    (checkout / "views.yaml").write_text(yaml.safe_dump(raw))
    return checkout


def run(checkout, *options, endpoint="http://127.0.0.1:9"):
    environment = checkout.environment() | {"HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1"}
    environment |= {"HF_HOME": str(checkout / "hf"), "SYNTHGAP_ON_CPU": "1"}
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *options]
    return subprocess.run(
        [*command, "--configfile", "views.yaml"], cwd=checkout.folder, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600,
    )  # fmt: skip


@pytest.mark.long
def test_a_depth_model_is_downloaded_once_and_then_runs_offline(study, tmp_path):
    with FakeHub(lab__depth=Repo(build(tmp_path / "model"))) as hub:
        fetched = run(study, "results/models/hub/lab--depth", endpoint=hub.endpoint)
        assert fetched.returncode == 0, fetched.stdout
    made = run(study, DEPTH)
    assert made.returncode == 0, made.stdout
    facts = json.loads((study / DEPTH.replace(".tar", ".json")).read_text())
    assert facts["options"]["view"]["model"] == "lab/depth"
    rows = pq.read_table(study / DEPTH.replace(".tar", ".parquet")).to_pylist()
    originals = pq.read_table(study / DEPTH.replace("/deep/", "/rgb/").replace(".tar", ".parquet"))
    assert [row["key"] for row in rows] == originals["key"].to_pylist()
    assert "Nothing to be done" in run(study, DEPTH, "--dry-run").stdout
    changed = (study / "views.yaml").read_text().replace("input_size: 42", "input_size: 56")
    (study / "views.yaml").write_text(changed)
    planned = run(study, DEPTH, "--dry-run").stdout
    assert "rule estimate_depth" in planned
    assert "rule download_model" not in planned


@pytest.mark.long
def test_a_folder_that_changes_makes_depth_again(study, tmp_path):
    model = build(tmp_path / "model")
    text = (study / "views.yaml").read_text().replace("lab/depth", str(model))
    (study / "views.yaml").write_text(text)
    made = run(study, DEPTH)
    assert made.returncode == 0, made.stdout
    assert "Nothing to be done" in run(study, DEPTH, "--dry-run").stdout
    build(model, width=32)
    assert "rule estimate_depth" in run(study, DEPTH, "--dry-run").stdout


def test_random_crops_are_gathered_as_samples(study):
    made = run(study, CROPS)
    assert made.returncode == 0, made.stdout
    rows = pq.read_table(study / CROPS)
    originals = pq.read_table(study / CROPS.replace("/crops/", "/rgb/"))
    assert rows.num_rows == 4 * originals.num_rows
    assert rows["class_index"].to_pylist()[::4] == originals["class_index"].to_pylist()


@pytest.mark.long
def test_a_shard_of_a_view_is_of_several_shards_of_a_generator(study):
    raw = yaml.safe_load((study / "views.yaml").read_text())
    raw["generators"]["flow-g2"]["shards"] = {"train": 5, "val": 1, "test": 1}
    raw["synthetic"]["shards"] = {"train": 2, "val": 1, "test": 1}
    (study / "views.yaml").write_text(yaml.safe_dump(raw))
    folder = "results/images/flow-g2-caption/train"
    made = run(study, f"{folder}/low/manifest.parquet")
    assert made.returncode == 0, made.stdout
    keys = [
        pq.read_table(study / folder / "low" / f"0000{shard}.parquet")["key"].to_pylist()
        for shard in (0, 1)
    ]
    images = [
        pq.read_table(study / folder / "rgb" / f"0000{shard}.parquet")["key"].to_pylist()
        for shard in range(5)
    ]
    assert keys == [images[0] + images[1], images[2] + images[3] + images[4]]
    planned = run(study, f"{folder}/low/00001.tar", "--dry-run", "--force").stdout
    assert planned.count("rule derive_view") == 1
