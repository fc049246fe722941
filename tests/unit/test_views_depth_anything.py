"""Depth Anything against transformers' own way, on a small model with random weights."""

import json
import shutil

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from synthgap.errors import UserError
from synthgap.views import make_view
from synthgap.views.depth_anything import DepthAnything
from tiny_depth import build

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 40, 56, 3), dtype=np.uint8)
SPEC = {"kind": "depth", "estimator": "depth-anything", "input_size": 42}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build(tmp_path_factory.mktemp("model"))


def by_transformers(folder, image, size):
    """The network's own map of one image, prepared by the processor."""
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    model = transformers.AutoModelForDepthEstimation.from_pretrained(folder)
    picture, square = Image.fromarray(image), {"height": size, "width": size}
    inputs = processor(images=picture, size=square, return_tensors="pt")
    with torch.no_grad():
        return processor, model(**inputs)


def test_the_network_sees_what_the_processor_of_transformers_makes(folder):
    estimated = DepthAnything(folder, input_size=42)(IMAGES)
    assert estimated.shape == (3, 40, 56)
    assert estimated.dtype == np.float32
    for image, depth in zip(IMAGES, estimated, strict=True):
        _, outputs = by_transformers(folder, image, 42)
        assert outputs.predicted_depth.shape == (1, 42, 56)
        back = F.interpolate(
            outputs.predicted_depth[:, None], size=(40, 56), mode="bilinear", align_corners=True
        )
        np.testing.assert_allclose(depth, back[0, 0].numpy(), atol=1e-5)
        assert depth.std() > 1e-3  # a flat map would prove nothing


def test_bicubic_is_the_post_processing_of_transformers(folder):
    estimated = DepthAnything(folder, input_size=42, interpolation="bicubic")(IMAGES)
    for image, depth in zip(IMAGES, estimated, strict=True):
        processor, outputs = by_transformers(folder, image, 42)
        [expected] = processor.post_process_depth_estimation(outputs, [(40, 56)])
        np.testing.assert_allclose(depth, expected["predicted_depth"].numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("size", "seen"),
    [((256, 256), (518, 518)), ((256, 512), (518, 1036)), ((300, 200), (784, 518)),
     ((1024, 768), (686, 518)), ((14, 15), (518, 560))],
)  # fmt: skip
def test_the_shorter_side_becomes_the_input_size(folder, size, seen):
    assert DepthAnything(folder).network_size(*size) == seen


def test_what_is_not_square_is_not_distorted_more_than_to_whole_patches(folder):
    estimator, sizes = DepthAnything(folder, input_size=42), []
    estimator.model.register_forward_pre_hook(lambda module, args: sizes.append(args[0].shape[2:]))
    estimator(IMAGES[:1, :30, :50])
    assert [tuple(size) for size in sizes] == [(42, 70)]


def test_the_default_input_is_518_pixels(folder):
    estimator = DepthAnything(folder)
    sizes = []
    estimator.model.register_forward_pre_hook(
        lambda module, args: sizes.append(args[0].shape[-2:]), with_kwargs=False
    )
    estimator(IMAGES[:1, :, :40])
    assert [tuple(size) for size in sizes] == [(518, 518)]


def test_an_image_does_not_depend_on_its_batch(folder):
    estimator = DepthAnything(folder, input_size=42)
    together = estimator(IMAGES)
    for index in range(3):
        alone = estimator(IMAGES[index : index + 1])[0]
        np.testing.assert_allclose(alone, together[index], atol=1e-5)
    assert estimator(IMAGES[:0]).shape == (0, 40, 56)


def test_half_precision_stays_near(folder):
    full = DepthAnything(folder, input_size=42)(IMAGES)
    half = DepthAnything(folder, input_size=42, dtype="bfloat16")(IMAGES)
    assert half.dtype == np.float32
    assert 0 < np.abs(half - full).max() < 0.05 * np.ptp(full)


def test_the_view_is_stretched_and_quantised(folder):
    derived = make_view(SPEC, model=folder)(IMAGES, [0, 1, 2])
    maps = DepthAnything(folder, input_size=42)(IMAGES)
    assert derived.images.shape == (3, 40, 56)
    low, high = maps.min(axis=(1, 2), keepdims=True), maps.max(axis=(1, 2), keepdims=True)
    exact = (maps - low) / (high - low) * 255
    assert np.abs(derived.images - exact).max() < 0.51
    deep = make_view(SPEC | {"bits": 16, "normalise": "metric", "max_depth": 0.5}, model=folder)
    levels = deep(IMAGES, [0, 1, 2]).images
    np.testing.assert_allclose(levels / 65535 * 0.5, np.clip(maps, 0, 0.5), atol=1e-5)


def test_weights_that_lack_a_part_of_the_network_are_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "headless")
    weights = tmp_path / "headless" / "model.safetensors"
    tensors = {name: t for name, t in load_file(weights).items() if not name.startswith("head.")}
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"the weights lack \d+ tensors.*first being head\."):
        DepthAnything(tmp_path / "headless")


def test_unknown_settings_are_refused(folder):
    with pytest.raises(UserError, match="unknown interpolation 'nearest'; known: bilinear, bicub"):
        DepthAnything(folder, interpolation="nearest")
    with pytest.raises(UserError, match="unknown dtype 'int8'"):
        DepthAnything(folder, dtype="int8")


def test_folders_that_hold_no_depth_model_are_refused(folder, tmp_path):
    with pytest.raises(UserError, match=r"no depth model: it has no preprocessor_config\.json"):
        DepthAnything(tmp_path)
    with pytest.raises(UserError, match="input_size: 43 is no multiple of this model's patches"):
        DepthAnything(folder, input_size=43)
    with pytest.raises(UserError, match="needs the folder of its model"):
        make_view(SPEC)
    shutil.copytree(folder, tmp_path / "pickled")
    weights = tmp_path / "pickled" / "model.safetensors"
    weights.rename(weights.with_name("pytorch_model.bin"))
    with pytest.raises(UserError, match="cannot be loaded as a depth model"):
        DepthAnything(tmp_path / "pickled")
    for name, damage in (("cut", lambda content: content[:-100]), ("empty", lambda content: b"")):
        shutil.copytree(folder, tmp_path / name)
        weights = tmp_path / name / "model.safetensors"
        weights.write_bytes(damage(weights.read_bytes()))
        with pytest.raises(UserError, match="cannot be loaded as a depth model"):
            DepthAnything(tmp_path / name)
    shutil.copytree(folder, tmp_path / "other")
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "other" / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))
    with pytest.raises(UserError, match="cannot be loaded as a depth model"):
        DepthAnything(tmp_path / "other")
