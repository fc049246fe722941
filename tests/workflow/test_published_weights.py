"""A classifier that starts from published weights, on the real Snakefile."""

import shutil

import pytest
import yaml

import tiny_encoders
from checkout import copy_checkout
from fake_hub import FakeHub, Repo

pytestmark = pytest.mark.slow

MODEL = "results/classifiers/real/rgb/resnet/seed-0.safetensors"
LOG = "results/logs/train_classifier/real/rgb/resnet/0.log"
FOLDER = "results/models/hub/timm--resnet18.tiny"


@pytest.fixture
def study(tmp_path, request):
    """A checkout in which nothing is made yet, with a network of a hub as the start."""
    (tmp_path / "checkout").mkdir()
    checkout = copy_checkout(tmp_path / "checkout")
    raw = yaml.safe_load(request.path.with_name("tiny.yaml").read_text())
    raw["classifiers"]["resnet"]["weights"] = {"model": "timm/resnet18.tiny"}
    (checkout / "tiny.yaml").write_text(yaml.safe_dump(raw))
    tiny_encoders.timm_classifier(
        tmp_path / "hub", "resnet18", raw["classifiers"]["resnet"]["architecture"]["options"]
    )
    return checkout


@pytest.mark.long
def test_weights_are_asked_for_first_then_downloaded_then_trained_from(
    study, tmp_path, monkeypatch
):
    plan = study.planned(MODEL)
    assert (plan["check_access"], plan["download_model"], plan["train_classifier"]) == (1, 1, 1)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    with FakeHub() as hub:
        hub.repos["timm/resnet18.tiny"] = Repo(tmp_path / "hub")
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        result = study.snakemake("--cores", "2", MODEL)
    assert result.returncode == 0, result.stdout
    log = (study / LOG).read_text()
    assert f"--weights {FOLDER} " in log
    assert f"weights of {FOLDER}; at random: fc" in log
    assert study.planned(MODEL) == {}

    # Of a folder, weights that are replaced in place are noticed.
    shutil.copytree(study / FOLDER, study / "mine")
    study.edit("tiny.yaml", "timm/resnet18.tiny", "./mine")
    assert study.planned(MODEL) == {"train_classifier": 1}
    assert study.snakemake("--cores", "1", MODEL).returncode == 0
    weights = study / "mine/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    assert study.planned(MODEL) == {"train_classifier": 1}
