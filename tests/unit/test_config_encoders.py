"""The encoders' sections of a config: built-in ones, and what they refuse."""

import pytest
from pydantic import TypeAdapter, ValidationError

from synthgap.config.encoders import Encoder, encoder_models
from synthgap.encoders import LAYERS
from synthgap.encoders.preprocessing import Preprocessing
from synthgap.hub import HubModel
from synthgap.weights import WeightFile

SECTION = TypeAdapter(Encoder)


def pretrained(**settings):
    return SECTION.validate_python({"kind": "pretrained"} | settings)


def test_every_built_in_encoder_resolves_to_options_that_can_be_made():
    for name, model in encoder_models().items():
        encoder = pretrained(model=name)
        options = encoder.options()
        assert options["family"] == model.family
        assert options["layer"] in LAYERS[model.family]
        assert encoder.label == options["name"] == name
        if model.family == "inception":
            assert encoder.hub_model is None
            assert encoder.weight_file == WeightFile(model.model, model.url, model.sha256)
            assert model.model.split("-")[-1] == f"{model.sha256[:8]}.pth"
            assert "image_size" not in options
        else:
            assert encoder.hub_model == HubModel(model.model, model.revision, layout="model")
            assert encoder.weight_file is None
            assert Preprocessing.of(options).image_size == 224


def test_other_models_borrow_from_their_family_and_may_say_otherwise(tmp_path):
    encoder = pretrained(model="laion/CLIP", family="clip", revision="main", image_size=336)
    usual = pretrained(model="clip-vit-l14").options()
    assert encoder.options() == usual | {
        "model": "laion/CLIP",
        "name": "laion/CLIP",
        "revision": "main",
        "image_size": 336,
    }
    assert encoder.hub_model == HubModel("laion/CLIP", "main", layout="model")
    (tmp_path / "config.json").write_text("{}")
    own = pretrained(model=str(tmp_path), family="timm", mean=[0.5] * 3, std=[0.5] * 3, crop=0.9)
    assert own.hub_model is None
    assert own.options()["mean"] == [0.5] * 3
    assert own.options()["crop"] == 0.9
    (tmp_path / "weights.pth").touch()
    file = pretrained(model=str(tmp_path / "weights.pth"), family="inception")
    assert (file.hub_model, file.weight_file) == (None, None)


def test_classifiers_download_nothing():
    encoder = SECTION.validate_python({"kind": "classifier", "classifier": "cnn", "view": "edges"})
    assert (encoder.hub_model, encoder.weight_file) == (None, None)
    assert encoder.options() == {
        "family": "classifier",
        "name": "real-edges-cnn-0",
        "store": "float32",
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"model": "clip-vit-l"},
            "no pretrained encoder `clip-vit-l`; known: clip-vit-l14, clip-vit",
        ),
        ({"model": "a/b/c", "family": "clip"}, "no pretrained encoder `a/b/c`"),
        ({"model": "a/b"}, "family: `a/b` is not built in, so say how it is loaded: clip, dinov2"),
        (
            {"model": "./none", "family": "clip"},
            "./none is no folder of a pretrained encoder: it has no config.json",
        ),
        ({"model": "clip-vit-l14", "family": "timm"}, "clip-vit-l14 is of the family clip"),
        ({"model": "clip-vit-l14", "layer": "token"}, "layer: clip has no `token`; known: projec"),
        ({"model": "clip-vit-l14", "positions": "reference"}, "`positions` is of the family dinov"),
        ({"model": "inception-v3", "image_size": 224}, "Inception prepares images in its own way"),
        ({"model": "inception-v3", "dtype": "bfloat16"}, "Inception computes in float32"),
        ({"model": "inception-v3", "revision": "main"}, "`revision` is of a hub's model"),
        ({"model": "x.pth", "family": "inception"}, "x.pth is no file of Inception's weights"),
        ({"model": "clip-vit-l14", "crop": 1.5}, "less than or equal to 1"),
        ({"model": "clip-vit-l14", "std": [0.2, 0.0, 0.2]}, "greater than 0"),
        ({"model": "clip-vit-l14", "cropp": 1.0}, "Extra inputs are not permitted"),
    ],
)
def test_what_does_not_fit_is_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        pretrained(**settings)
