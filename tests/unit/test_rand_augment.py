"""RandAugment: pixel for pixel timm's operations, and draws that follow its recipe."""

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import auto_augment

from synthgap.classifiers.batches import Batches
from synthgap.classifiers.rand_augment import FILL, OPERATIONS, Change, apply, draw
from synthgap.classifiers.recipe import Recipe

THEIRS = {
    "auto_contrast": "AutoContrast",
    "equalise": "Equalize",
    "invert": "Invert",
    "rotate": "Rotate",
    "posterise": "PosterizeIncreasing",
    "solarise": "SolarizeIncreasing",
    "solarise_add": "SolarizeAdd",
    "colour": "ColorIncreasing",
    "contrast": "ContrastIncreasing",
    "brightness": "BrightnessIncreasing",
    "sharpness": "SharpnessIncreasing",
    "shear_x": "ShearX",
    "shear_y": "ShearY",
    "translate_x": "TranslateXRel",
    "translate_y": "TranslateYRel",
}
KERNELS = {False: Image.Resampling.BILINEAR, True: Image.Resampling.BICUBIC}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def photo(height: int = 40, width: int = 48) -> np.ndarray:
    """Return an image with smooth parts, edges and a narrow range of grey."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(30, 190, width)[None, :, None] + np.zeros((height, 1, 3))
    ramp[10:20, 5:30] += rng.integers(-25, 60, 3)
    return (ramp + rng.integers(0, 12, ramp.shape)).astype(np.uint8)


def changed(name: str, *options) -> np.ndarray:
    image = photo()
    apply(image, [Change(name, *options)])
    return image


def by_timm(name: str, magnitude: float, negated: bool, bicubic: bool, monkeypatch) -> np.ndarray:
    monkeypatch.setattr(random, "random", lambda: 1.0 if negated else 0.0)
    hparams = {"img_mean": FILL, "interpolation": KERNELS[bicubic]}
    operation = auto_augment.AugmentOp(THEIRS[name], 1.0, magnitude, hparams)
    return np.asarray(operation(Image.fromarray(photo())))


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_gives_the_pixels_of_timm(name, monkeypatch):
    seen = set()
    for magnitude in (0, 2.6, 5.0, 8.73, 9, 9.99 if name == "posterise" else 10):
        for negated in (False, True):
            for bicubic in (False, True):
                expected = by_timm(name, magnitude, negated, bicubic, monkeypatch)
                found = changed(name, magnitude, negated, bicubic)
                np.testing.assert_array_equal(found, expected)
                seen.add(expected.tobytes())
    assert seen != {photo().tobytes()}


def test_the_operations_and_the_fill_are_those_of_timms_recipe():
    ours = [THEIRS[name] for name in OPERATIONS]
    assert ours == auto_augment.rand_augment_choices("", increasing=True)
    corner = changed("translate_x", 10.0)[:, -1]
    assert (corner == [124, 116, 104]).all()


def test_the_strongest_posterise_keeps_one_bit():
    np.testing.assert_array_equal(changed("posterise", 10.0), photo() & 128)


def test_operations_follow_one_another():
    both, first, second = Change("invert", 9.0), Change("shear_y", 9.0), Change("rotate", 4.0)
    once, twice = photo(), photo()
    apply(once, [both, first, second])
    for change in (both, first, second):
        apply(twice, [change])
    np.testing.assert_array_equal(once, twice)
    untouched = photo()
    apply(untouched, [])
    np.testing.assert_array_equal(untouched, photo())


def test_draws_follow_the_recipe():
    n = 6000
    drawn = draw(n, 9.0, 0.5, generator())
    assert len(drawn) == n
    counts = Counter(len(changes) for changes in drawn)
    assert [counts[k] / n for k in range(3)] == pytest.approx([0.25, 0.5, 0.25], abs=0.03)
    all_changes = [change for changes in drawn for change in changes]
    kinds = Counter(change.name for change in all_changes)
    assert kinds.keys() == OPERATIONS.keys()
    shares = [count / len(all_changes) for count in kinds.values()]
    assert shares == pytest.approx([1 / 15] * 15, abs=0.015)
    assert any(len({c.name for c in changes}) == 1 for changes in drawn if len(changes) == 2)
    for field in ("negated", "bicubic"):
        assert np.mean([getattr(c, field) for c in all_changes]) == pytest.approx(0.5, abs=0.03)
    magnitudes = np.array([change.magnitude for change in all_changes])
    assert magnitudes.max() == 10.0
    assert np.median(magnitudes) == pytest.approx(9.0, abs=0.05)
    assert (magnitudes < 8.5).mean() == pytest.approx(0.159, abs=0.02)


def test_without_deviation_every_magnitude_is_the_one_asked_for():
    drawn = draw(50, 4.0, 0.0, generator())
    assert {change.magnitude for changes in drawn for change in changes} == {4.0}
    wild = [c.magnitude for changes in draw(200, 0.5, 9.0, generator()) for c in changes]
    assert min(wild) == 0.0
    assert max(wild) == 10.0


def test_draws_are_the_generators_alone():
    torch.manual_seed(1)
    first = draw(20, 9.0, 0.5, generator(3))
    assert first == draw(20, 9.0, 0.5, generator(3))
    assert first != draw(20, 9.0, 0.5, generator(4))


@pytest.mark.parametrize("threads", [0, 3])
def test_batches_change_cropped_and_mirrored_images_as_drawn(threads):
    images = np.random.default_rng(0).integers(0, 256, (70, 20, 20, 3)).astype(np.uint8)
    labels, numbers = np.zeros(70, np.int64), torch.arange(70)
    plain = {"flip": True, "crop_min_area": 0.5, "input_size": 16}
    recipe = Recipe.from_mapping(plain | {"rand_augment": 9.0, "rand_augment_deviation": 1.0})
    rng = generator(5)
    expected = Batches(images, labels, Recipe.from_mapping(plain)).read(numbers, rng).numpy()
    for image, changes in zip(expected, draw(70, 9.0, 1.0, rng), strict=True):
        apply(image, changes)
    pool = ThreadPoolExecutor(threads) if threads else None
    found = Batches(images, labels, recipe, pool).read(numbers, generator(5)).numpy()
    np.testing.assert_array_equal(found, expected)
