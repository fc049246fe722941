"""Models of real and synthetic images in a config, those of study D, and its plan."""

import copy
from pathlib import Path

import pytest
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from synthgap import config
from synthgap.config import about
from synthgap.config.edm import EDMModel
from synthgap.diffusion.edm.network import EDMUNet
from synthgap.errors import UserError
from synthgap.planning.edm import forward_operations
from synthgap.planning.plan import Plan

STUDIES = Path(__file__).parents[2] / "config" / "studies"
DIGITS = yaml.safe_load((STUDIES / "casd-digits.yaml").read_text())


def changed(keys: list[str], value: object) -> dict:
    raw = copy.deepcopy(DIGITS)
    place = raw
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    return raw


@pytest.mark.parametrize("name", ["casd", "casd-ffhq", "casd-digits"])
def test_configs_of_the_paper_are_valid(name):
    study = config.load(STUDIES / f"{name}.yaml")
    arms = study.casd_models
    assert {one.arm for one in arms.values()} == {"dm", "sda", "casd"}
    assert arms.keys() <= study.generators.keys() & study.edm_models.keys()
    # Written out once more, nothing changes.
    again = config.Config.model_validate_json(study.model_dump_json(exclude_unset=True))
    assert again.edm_models == study.edm_models
    assert again.generators == study.generators


def test_the_paper_trains_as_many_models_as_its_tables_have():
    cifar = config.load(STUDIES / "casd.yaml").casd_models
    # Table 1: four of DM, and two sources of four sizes for each of the others; table 2: one of DM,
    # and three cases.
    assert len(cifar) == 4 + 2 * 2 * 4 + 1 + 2 * 3
    ffhq = config.load(STUDIES / "casd-ffhq.yaml").casd_models
    # Figure 2 has n = 2000 of table 1 as its end, and table 3 DM of n = 1000.
    assert len(ffhq) == 4 + 2 * 2 * 4 + 2 * 2 * 4 + 2 * 2


def test_arms_differ_in_nothing_but_their_images_and_what_they_are_told():
    study = config.parse(copy.deepcopy(DIGITS))
    base = study.edm_models["small"]
    casd = study.edm_models["casd-n80-c0to7-pretrained-m320-c2to9"]
    assert (casd.images, casd.classes, casd.source_label) == (80, [0, 1, 2, 3, 4, 5, 6, 7], True)
    [part] = casd.synthetic
    assert (part.source, part.images, part.classes) == ("pretrained", 320, list(range(2, 10)))
    sda = study.edm_models["sda-n80-c0to7-pretrained-m320-c2to9"]
    assert sda == casd.model_copy(update={"source_label": False})
    dm = study.edm_models["dm-n80-c0to7"]
    assert dm == sda.model_copy(update={"synthetic": []})
    plain = {"images": None, "classes": None}
    assert dm.model_copy(update=plain) == base
    assert (dm.sources, sda.sources, casd.sources) == (0, 0, 2)


def test_models_are_sources_that_other_studies_do_not_see():
    study = config.parse(copy.deepcopy(DIGITS))
    assert study.sources["casd-n40-pretrained-m400"] == ("casd-n40-pretrained-m400", "classname")
    assert study.compared_sources == ["pretrained"]
    assert study.splits_of("dm-n40") == ["train"]
    told = about.source(study, "casd-n40-pretrained-m400")["casd"]
    assert told["arm"] == "casd"
    assert told["designs"] == {"sizes": 0}
    assert "casd" not in about.source(study, "pretrained")


def test_real_images_of_some_classes_are_compared_with_these():
    study = config.parse(copy.deepcopy(DIGITS))
    part = study.distributions["classifier-c0to7"]
    assert (part.classes, part.samples, part.few) == (list(range(8)), 320, True)
    assert set(part.sources or ()) == {n for n, one in study.casd_models.items() if one.classes}
    assert "dm-n80-c0to7" not in study.measured_in("classifier")
    assert {"pretrained", "dm-n40"} <= set(study.measured_in("classifier"))


def test_designs_share_models():
    raw = changed(
        ["studies", "casd", "designs", "again"], DIGITS["studies"]["casd"]["designs"]["sizes"]
    )
    study = config.parse(raw)
    assert len(study.casd_models) == 9
    assert about.source(study, "dm-n40")["casd"]["designs"] == {"sizes": 0, "again": 2}


def test_each_seed_is_a_training():
    study = config.parse(changed(["studies", "casd", "seeds"], [0, 3]))
    assert study.edm_models["dm-n40"].seed == 0
    assert study.edm_models["dm-n40-s3"].seed == 3


@pytest.mark.parametrize(
    ("keys", "value", "said"),
    [
        (["studies", "casd", "model"], "smal", "studies.casd.model: no `smal` in this config; did"),
        (["studies", "casd", "distribution"], "x", "studies.casd.distribution: no `x`"),
        (["studies", "casd", "classifier"], "x", "studies.casd.classifier: no `x`"),
        (
            ["studies", "casd", "designs", "sizes", "sources"],
            ["pretraned"],
            "studies.casd.designs.sizes.sources: no `pretraned` in this config; did you mean",
        ),
        (
            ["studies", "casd", "designs", "sizes", "arms"],
            ["casd"],
            "designs.sizes.arms: the others are compared with `dm`; add it",
        ),
        (
            ["studies", "casd", "memorised"],
            {"lpips": 0.1},
            "studies.casd.memorised.lpips: add lpips to `replication.metrics`",
        ),
        (
            ["distributions", "classifier", "metrics"],
            ["prdc"],
            "studies.casd.distribution: `classifier` has no `frechet` among its metrics",
        ),
        (
            ["studies", "casd", "designs", "sizes", "synthetic"],
            [401],
            "synthetic.images: 401 is more than the 400 made",
        ),
        (
            ["edm_models", "pretrained", "network"],
            {"attention": [4]},
            "edm_models.pretrained.network.attention: no level has a side of 4; levels have 12, 6",
        ),
        (
            ["edm_models", "pretrained", "network"],
            {"multipliers": [1, 1, 1, 1, 1, 1]},
            "edm_models.pretrained.network.multipliers: 6 levels halve images of 12 pixels",
        ),
        (["edm_models", "small", "classes"], [3, 10], "there is no class 10; the last is 9"),
        (["edm_models", "small", "classes"], [3, 3], "classes: a class comes twice"),
        (
            ["edm_models", "pretrained", "classes"],
            [3],
            "class_label: images of all classes are made",
        ),
        (["edm_models", "pretrained", "source_label"], True, "there are real images alone"),
        (
            ["edm_models", "pretrained", "synthetic"],
            [{"source": "pretrained", "images": 10}],
            "edm_models.pretrained.synthetic: pretrained would learn from its own images",
        ),
        (["generators", "pretrained", "edm"], "x", "generators.pretrained.edm: no `x`"),
        (
            ["generators", "pretrained", "guidance_scale"],
            2.0,
            "guidance_scale: models of `edm_models` have none; leave it out",
        ),
        (["generators", "pretrained", "image_size"], 32, "makes images of 12 pixels"),
    ],
)
def test_what_does_not_fit_is_named(keys, value, said):
    with pytest.raises(UserError) as error:
        config.parse(changed(keys, value))
    assert said in str(error.value)


def test_a_model_may_not_learn_from_one_that_learnt_from_it():
    raw = copy.deepcopy(DIGITS)
    other = {"synthetic": [{"source": "pretrained", "images": 10}]}
    raw["edm_models"]["other"] = raw["edm_models"]["small"] | other
    raw["generators"]["other"] = {"edm": "other", "steps": 2}
    assert config.parse(copy.deepcopy(raw)).edm_models["other"].synthetic
    raw["edm_models"]["pretrained"]["synthetic"] = [{"source": "other", "images": 10}]
    with pytest.raises(UserError, match="pretrained would learn from its own images"):
        config.parse(raw)


def test_options_of_the_commands_tell_images_and_training_apart():
    model = EDMModel(
        images=5, synthetic=[{"source": "a", "images": 3}], source_label=True, kimg=1.0
    )
    assert model.choice().keys() == {"images", "classes", "synthetic"}
    assert model.options()["sources"] == 2
    assert not model.options().keys() & {*model.choice(), "threads"}


@pytest.mark.parametrize(
    ("network", "side"),
    [
        ({"channels": 128, "multipliers": [2, 2, 2], "blocks": 4, "attention": [16]}, 32),
        ({"channels": 128, "multipliers": [1, 2, 2, 2], "blocks": 4, "attention": [16]}, 64),
        ({"channels": 16, "multipliers": [1, 2], "blocks": 1, "attention": [8]}, 16),
    ],
)
def test_operations_of_edm_models_are_as_torch_counts_them(network, side):
    with torch.device("meta"):
        model = EDMUNet(sample_size=side, augmentation=0, **network)
        with FlopCounterMode(display=False) as counter:
            model(torch.randn(1, 3, side, side), torch.zeros(1))
    counted = counter.get_total_flops()
    assert forward_operations(EDMModel(network=network), side) == counted


def test_study_d_is_planned_with_what_its_models_take():
    study = config.load(STUDIES / "casd.yaml")
    rows = Plan(study, {}, 10, {"train": 49800, "val": 200, "test": 10000}).rows()
    found = {(row.stage, row.what): row for row in rows}
    trained = {what for stage, what in found if stage == "train_edm"}
    assert trained == {*study.casd_models, "edm", "edm-last", "edm-middle"}
    one = found["train_edm", "dm-n1000"]
    assert one.images == 60_000_000
    assert one.hours == pytest.approx(3 * 42.38e9 * 60e6 / (0.15 * 989e12) / 3600, rel=1e-3)
    assert found["choose_images", "edm"].jobs == 30
    assert found["measure_distribution", "inception"].jobs == 1 + 4 + 20
    assert found["measure_distribution", "inception-c0to7"].jobs == 1 + 7
    assert found["generate_images", "dm-n1000"].images == 50_000
    assert found["generate_images", "edm"].images == 10 * 1100  # for training, and its test sheet
    assert ("evaluate_classifier", "resnet18") not in found
