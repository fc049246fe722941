"""What a config may say of study B and of the models that it trains."""

import copy
from pathlib import Path

import pytest
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from synthgap.config import about, load, parse
from synthgap.diffusion.cad import CADI
from synthgap.diffusion.dit import DiTI
from synthgap.errors import UserError
from synthgap.planning.training import estimated_generation, training_operations

STUDIES = Path(__file__).parents[2] / "config" / "studies"
BASE = {
    "real": {"dataset": "digits", "image_size": 32},
    "captioner": {"kind": "attributes", "composites": True},
    "composites": ["half"],
    "trained_models": {
        "ta": {"captions": ["caption"], "steps": 100},
        "mix": {
            "captions": ["caption"],
            "steps": 100,
            "seed": 5,
            "start": "ta",
            "composites": {"pattern": "half"},
        },
    },
    "generators": {
        "ta": {"trained": "ta", "guidance_scale": 2, "steps": 5},
        "mix": {"trained": "mix", "guidance_scale": 2, "steps": 5},
        "sd": {"preset": "sd15"},
    },
    "synthetic": {
        "prompts": ["caption"],
        "samples_per_class": {"train": 4, "val": 1, "test": 2},
    },
    "classifiers": {"net": {"architecture": {"family": "timm", "name": "resnet18"}}},
    "studies": {"text_to_image": {"generators": ["ta", "mix", "sd"], "classifier": "net"}},
}


def changed(*path, to, base=BASE):
    raw = copy.deepcopy(base)
    at = raw
    for key in path[:-1]:
        at = at.setdefault(key, {})
    at[path[-1]] = to
    return raw


def study(**options):
    return changed("studies", "text_to_image", to=BASE["studies"]["text_to_image"] | options)


def test_further_trainings_are_models_of_their_own():
    config = parse(study(trainings=3))
    assert list(config.compared_sources) == ["ta-caption", "mix-caption", "sd-caption"]
    added = set(config.sources) - set(config.compared_sources)
    assert added == {f"{name}~{i}-caption" for name in ("ta", "mix") for i in (1, 2)}
    seeds = {name: model.seed for name, model in config.trained_models.items()}
    assert seeds == {"ta": 0, "ta~1": 1, "ta~2": 2, "mix": 5, "mix~1": 6, "mix~2": 7}
    # What one goes on from is trained anew, too.
    assert config.trained_models["mix~2"].start == "ta~2"
    assert config.generators["mix~2"].trained == "mix~2"
    told = about.source(config, "mix~2-caption")
    assert (told["arm"], told["training"], told["on_curve"]) == ("mix", 2, False)
    assert told["augmentation"] == "CutMix half, p 0.5 above 400"


def test_a_whole_config_can_be_read_again():
    config = parse(study(trainings=2, curve={"steps": [20]}))
    again = parse(config.model_dump(mode="json", exclude_unset=True))
    assert again.companions == config.companions
    assert set(again.trained_models) == {"ta", "mix", "ta~1", "mix~1"}


def test_a_curve_keeps_models_before_their_end():
    config = parse(study(curve={"steps": [20, 40], "generators": ["ta"]}))
    assert set(config.companions) == {"ta@20", "ta@40"}
    assert config.snapshots("ta") == [20, 40]
    assert config.snapshots("mix") == []
    told = about.source(config, "ta@20-caption")
    assert (told["arm"], told["training_step"], told["on_curve"]) == ("ta", 20, True)
    everything = parse(study(curve={"steps": [20]}))
    assert set(everything.companions) == {"ta@20", "mix@20"}, "of those that are trained here"


def test_only_splits_that_something_is_made_of_are_generated():
    config = parse(study(trainings=2))
    assert {tuple(config.splits_of(s)) for s in config.sources} == {("test",)}
    assert config.splits_of("real") == ["train", "val", "test"]
    both = parse(
        changed(
            "studies",
            "transfer",
            to={"probes": {"rgb": {"view": "rgb", "classifier": "net"}}},
            base=study(trainings=2),
        )
    )
    assert both.splits_of("ta-caption") == ["train", "val", "test"]
    assert both.splits_of("ta~1-caption") == ["test"]


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (study(generators=["tb"]), "studies.text_to_image.generators: no `tb` in this config"),
        (study(baselines=["aio"]), "baselines: aio is not in `generators`"),
        (study(classifier="nett"), "studies.text_to_image.classifier: no `nett`"),
        (study(classifier=None), "studies.text_to_image: nothing is measured of the images"),
        (study(generators=["ta", "mix", "ta"]), "generators: ta comes twice"),
        (study(generators=["sd"], trainings=3), "trainings: none of the generators is trained"),
        (study(generators=["sd"], curve={"steps": [5]}), "curve: none of the generators is"),
        (study(curve={"steps": [100]}), "100 is not before the end of ta, after 100 steps"),
        (study(curve={"steps": [5], "generators": ["sd"]}), "sd is no model that is trained here"),
        (changed("trained_models", "ta", "start", to="mix"), "goes on from"),
        (
            changed("trained_models", "ta", "start", to="ta", base=study(trainings=3)),
            "trained_models.ta.start: ta goes on from ta",
        ),
        (
            changed("trained_models", "ta~1", to={"steps": 7}, base=study(trainings=3)),
            "trained_models.ta~1: study text_to_image gives this name to one of its own",
        ),
        (
            changed("trained_models", "ta", "denoiser", to={"kind": "dit-i", "text_heads": 3}),
            "text_heads: 3 heads do not divide width, 128",
        ),
        (
            changed("trained_models", "ta", "denoiser", to={"kind": "dit-i", "width": 30}),
            "width: 30 is no multiple of 4",
        ),
        (
            changed("trained_models", "ta", "denoiser", to={"width": 64}),
            "trained_models.ta.denoiser.kind: missing",
        ),
        (
            changed("trained_models", "ta", "denoiser", to={"kind": "cad-i", "data_width": 66}),
            "interface_heads: 4 heads do not divide the smaller of width and data_width, 66",
        ),
        (changed("trained_models", "mix", "start", to="tb"), "tb is none of `trained_models`"),
        (
            changed("trained_models", "mix", "denoiser", to={"kind": "dit-i", "width": 64}),
            "trained_models.mix.start: ta has another denoiser",
        ),
        (changed("generators", "sd", "step", to=5), "step: only of a `trained` model"),
        (
            changed("generators", "ta", "search", to={"candidates": 4, "scorer": "hps"}),
            "generators.ta.search.scorer: no `hps`",
        ),
        (changed("generators", "ta", "search", to={"candidates": 1, "scorer": "x"}), "search"),
        (
            changed("trained_models", "ta", to={"processes": 3, "batch_size": 6, "nodes": 2}),
            "3 processes cannot be spread evenly over 2 nodes",
        ),
        (changed("studies", to={}), "name one of `transfer`, `distinguish`, `text_to_image`"),
    ],
)
def test_mistakes_are_told_in_a_line(raw, told):
    with pytest.raises(UserError) as error:
        parse(raw)
    assert told in str(error.value)


@pytest.mark.parametrize(("name", "network"), [("dit-ta", DiTI), ("cad-ta", CADI)])
def test_estimated_operations_are_those_of_the_network(name, network):
    config = load(STUDIES / "text-to-image.yaml")
    with torch.device("meta"):
        model = network()
        given = (torch.randn(1, 4, 32, 32), torch.randn(1, 150, 2048), torch.zeros(1))
        with FlopCounterMode(display=False) as counter:
            model(*given)
    forward = counter.get_total_flops()
    # Forward once and backward, which is two; CAD-I forward once more.
    passes = 4 if network is CADI else 3
    operations = training_operations(config, config.trained_models[name])
    assert operations == pytest.approx(passes * forward, rel=0.04)
    figure = estimated_generation(config, name)
    assert figure["images_per_second"] > 0


@pytest.mark.parametrize("path", sorted(STUDIES.glob("text-to-image*.yaml")), ids=lambda p: p.stem)
def test_studies_name_what_they_compare(path):
    config = load(path)
    raw = yaml.safe_load(path.read_text())
    asked = raw["studies"]["text_to_image"]["generators"]
    assert set(asked) == set(raw["generators"])
    arms = [about.arm(config, name) for name in asked]
    assert [arm["arm_order"] for arm in arms] == list(range(len(asked)))
    assert any(arm["baseline"] for arm in arms)
