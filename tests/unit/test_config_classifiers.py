"""The classifiers' section of a config: published weights, and what it refuses."""

import copy
import json
from pathlib import Path

import pytest
import yaml

from synthgap import config
from synthgap.errors import UserError
from synthgap.hub import HubModel
from synthgap.planning.plan import Plan

DEFAULT = yaml.safe_load((Path(__file__).parents[2] / "config" / "config.yaml").read_text())
RESNET = {"family": "timm", "name": "resnet50"}
BAGNET = {"family": "bagnet", "receptive_field": 9}
HUB = {"model": "timm/resnet50.tv_in1k", "revision": "abc"}


def study(weights: object, architecture: dict = RESNET, name: str = "resnet") -> config.Config:
    raw = copy.deepcopy(DEFAULT)
    raw["classifiers"][name] = {"architecture": architecture, "weights": weights}
    return config.parse(raw)


def test_published_weights_are_downloaded_and_planned():
    found = study(HUB)
    start = HubModel("timm/resnet50.tv_in1k", "abc", layout="model")
    assert found.classifiers["resnet"].weights.hub_model == start
    assert found.hub_models["timm--resnet50.tv_in1k--abc"] == start
    rows = {(row.stage, row.what) for row in Plan(found, {}, 10, {}).rows()}
    assert ("download_model", "timm/resnet50.tv_in1k") in rows


def test_what_no_study_trains_is_not_downloaded():
    assert study(HUB, name="spare").hub_models == {}
    assert "spare" not in study(HUB, name="spare").used_classifiers


def test_without_weights_nothing_is_downloaded():
    plain = config.parse(DEFAULT)
    assert plain.hub_models == {}
    assert {one.weights for one in plain.classifiers.values()} == {None}


def test_weights_of_a_folder_are_not_downloaded(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "resnet50"}))
    (tmp_path / "model.safetensors").touch()
    found = study({"model": str(tmp_path)}, {"family": "timm", "name": "resnet50.a1_in1k"})
    assert found.hub_models == {}
    assert found.classifiers["resnet"].weights.origin == (str(tmp_path), None)


@pytest.mark.parametrize(
    ("weights", "architecture", "said"),
    [
        (HUB, BAGNET, "resnet: weights: there are none for bagnet; leave them out, or take"),
        (
            HUB,
            RESNET | {"name": "resnet18"},
            "resnet: weights.model: timm/resnet50.tv_in1k is a resnet50, and the architecture is "
            "resnet18; give others, or set architecture.name to resnet50",
        ),
        (
            {"model": "resnet50"},
            RESNET,
            "weights: no network of timm `resnet50`; give a hub id (owner/name) or a folder",
        ),
        (
            {"model": "./none"},
            RESNET,
            "weights: model: ./none is no folder of a network of timm: it has no config.json",
        ),
        ({"modle": "a/b", "model": "a/b"}, RESNET, "modle: unknown key; did you mean `model`?"),
        ({"revision": "abc"}, RESNET, "classifiers.resnet.weights.model: missing"),
    ],
)
def test_weights_that_cannot_be_are_refused(weights, architecture, said):
    with pytest.raises(UserError) as caught:
        study(weights, architecture)
    assert said in str(caught.value)


def test_a_folder_of_other_weights_is_refused_before_any_job(tmp_path):
    def refusal(revision: str | None = None) -> str:
        with pytest.raises(UserError) as caught:
            study({"model": str(tmp_path), "revision": revision})
        return str(caught.value)

    (tmp_path / "config.json").write_text(json.dumps({"architecture": "resnet18"}))
    assert f"{tmp_path} is no folder of a network of timm: it has no model.safet" in refusal()
    (tmp_path / "model.safetensors").touch()
    assert "holds weights of resnet18, which do not fit the architecture resnet50" in refusal()
    assert "`revision` is of a hub's model, and `model` is a folder" in refusal("abc")
    (tmp_path / "config.json").write_text("{}")
    assert "its config.json names no `architecture`" in refusal()
