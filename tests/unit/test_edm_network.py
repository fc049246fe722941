"""The DDPM++ network, and the pipeline that samples from it."""

import json

import numpy as np
import pytest
import torch

from generator_options import generator_options
from synthgap.diffusion.edm.network import EDMUNet
from synthgap.diffusion.edm.pipeline import EDMPipeline
from synthgap.errors import UserError
from synthgap.generators.pipeline import TextToImage

SMALL = {"sample_size": 8, "channels": 8, "multipliers": (1, 2), "blocks": 1, "attention": (4,)}
SMALL |= {"dropout": 0.0}


def small(**options: object) -> EDMUNet:
    """A network whose labels and noise levels matter, although it never learnt anything."""
    torch.manual_seed(0)
    model = EDMUNet(**SMALL, **options)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.2)
    return model.eval()


def images(pipeline: EDMPipeline, labels: list[int], seeds: list[int], **options: object):
    pipeline.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    options = {"num_inference_steps": 3, "output_type": "pt"} | options
    return pipeline(labels, generator=generators, **options).images


@pytest.mark.parametrize(
    ("options", "weights"),
    [
        # As published for EDM's unconditional ddpmpp models, of CIFAR-10 and of FFHQ at 64 pixels.
        ({}, 55_733_891),
        ({"sample_size": 64, "multipliers": (1, 2, 2, 2)}, 61_805_571),
        # A source label adds one vector of 128 a label.
        ({"sources": 2}, 55_733_891 + 2 * 128),
    ],
)
def test_full_size_networks_have_as_many_weights_as_published(options, weights):
    with torch.device("meta"):
        model = EDMUNet(**options)
    assert sum(parameter.numel() for parameter in model.parameters()) == weights


def test_at_first_a_network_says_nothing():
    torch.manual_seed(0)
    model = EDMUNet(**SMALL)
    found = model(torch.randn(2, 3, 8, 8), torch.zeros(2))
    assert found.shape == (2, 3, 8, 8)
    assert not found.any()


@pytest.mark.parametrize("name", ["sources", "classes"])
def test_labels_are_read_where_there_are_some(name):
    image, noise = torch.randn(2, 3, 8, 8), torch.tensor([-0.3, 0.4])
    argument = {"sources": "source", "classes": "label"}[name]
    told, untold = small(**{name: 3}), small()
    zero, one = ({argument: torch.tensor([i, i])} for i in (0, 1))
    assert not torch.equal(told(image, noise, **zero), told(image, noise, **one))
    assert torch.equal(told(image, noise, **zero), told(image, noise))
    assert torch.equal(untold(image, noise, **zero), untold(image, noise, **one))


def test_augmentations_are_read():
    image, noise, told = torch.randn(2, 3, 8, 8), torch.zeros(2), torch.rand(2, 9)
    model = small()
    assert not torch.equal(model(image, noise), model(image, noise, augmented=told))
    nothing = torch.zeros(2, 9)
    assert torch.equal(model(image, noise), model(image, noise, augmented=nothing))


def test_a_side_that_levels_do_not_divide_is_refused():
    with pytest.raises(ValueError, match=r"multipliers: 3 levels need .* not 10"):
        EDMUNet(sample_size=10, multipliers=(1, 1, 1))


def test_each_image_comes_from_its_own_seed():
    pipeline = EDMPipeline(small(classes=3))
    together = images(pipeline, [0, 1, 0, 0], [5, 5, 5, 6])
    assert together.shape == (4, 3, 8, 8)
    assert together.min() >= 0
    assert together.max() <= 1
    torch.testing.assert_close(together[0], together[2])
    assert not torch.allclose(together[0], together[1])  # another class
    assert not torch.allclose(together[0], together[3])  # another seed
    torch.testing.assert_close(images(pipeline, [1], [5])[0], together[1], atol=1e-5, rtol=0)


def test_images_are_real_ones_unless_asked_otherwise():
    pipeline = EDMPipeline(small(sources=2))
    real, synthetic = (images(pipeline, [0], [5], source_label=label) for label in (0, 1))
    assert torch.equal(images(pipeline, [0], [5]), real)
    assert not torch.allclose(real, synthetic)
    unlabelled = EDMPipeline(small())
    assert torch.equal(images(unlabelled, [0], [5], source_label=1), images(unlabelled, [0], [5]))
    with pytest.raises(ValueError, match="source_label: 2 is none of the model's 2, from 0"):
        images(pipeline, [0], [5], source_label=2)


def test_evaluations_are_counted():
    pipeline = EDMPipeline(small())
    pipeline.set_progress_bar_config(disable=True)
    calls = []
    pipeline.unet.register_forward_hook(lambda *_: calls.append(1))
    assert pipeline([0, 0], num_inference_steps=18).evaluations == len(calls) == 35


def test_a_folder_is_a_generator_like_any_other(tmp_path):
    pipeline = EDMPipeline(small(sources=2, classes=2), sigma_data=0.6)
    pipeline.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "model_index.json").read_text())["sigma_data"] == 0.6
    again = EDMPipeline.from_pretrained(tmp_path)
    # Weights that are mapped from a file lie otherwise in memory, which moves last digits.
    torch.testing.assert_close(
        images(again, [1], [7]), images(pipeline, [1], [7]), atol=1e-4, rtol=0
    )

    options = generator_options(model=str(tmp_path), image_size=8, guidance_scale=None, steps=3)
    options |= {"class_labels": "order"}
    model = TextToImage(tmp_path, options, "cpu", classes={"cat": 0, "dog": 1})
    made = model.generate(["cat", "dog", "cat"], [7, 7, 8])
    assert made.failures == [None] * 3
    expected = (images(again, [0, 1, 0], [7, 7, 8]) * 255).round().to(torch.uint8)
    assert np.array_equal(made.pixels, expected.permute(0, 2, 3, 1).numpy())
    with pytest.raises(UserError, match="vae_slicing: EDMPipeline cannot do it"):
        TextToImage(tmp_path, options | {"vae_slicing": True}, "cpu", classes={"cat": 0})


def test_an_infinity_is_no_white_pixel(monkeypatch):
    pipeline = EDMPipeline(small())
    forward = EDMUNet.forward

    def spoil(self, *args, **kwargs):
        found = forward(self, *args, **kwargs)
        found[1, 0, 0, 0] = float("inf")
        return found

    monkeypatch.setattr(EDMUNet, "forward", spoil)
    made = images(pipeline, [0, 0], [1, 2])
    assert made[0].isfinite().all()
    assert not made[1].isfinite().all()
