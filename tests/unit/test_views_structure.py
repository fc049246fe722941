"""Structure estimators and the choice of ink."""

import sys
import types

import numpy as np
import pytest

from synthgap.errors import UserError
from synthgap.views import structure
from synthgap.views.structure import estimate, grey_levels, ink_mask, otsu_threshold


def grey_images(*greys):
    return np.repeat(np.stack(greys)[..., None], 3, axis=3).astype(np.uint8)


def square(side=15, inner=7, ink=255, ground=0):
    image = np.full((side, side), ground, np.uint8)
    margin = (side - inner) // 2
    image[margin : margin + inner, margin : margin + inner] = ink
    return image


def brute_force_otsu(values):
    """The threshold with the least variance within the two classes."""
    best, threshold = np.inf, None
    for level in range(255):
        below, above = values[values <= level], values[values > level]
        if below.size and above.size:
            within = below.size * below.var() + above.size * above.var()
            if within < best - 1e-6:
                best, threshold = within, level
    return threshold


@pytest.mark.parametrize("seed", range(5))
def test_otsu_is_the_best_threshold(seed):
    rng = np.random.default_rng(seed)
    values = np.concatenate([rng.normal(70, 20, 150), rng.normal(170, 30, 90)])
    values = values.clip(0, 255).astype(np.uint8)
    assert otsu_threshold(values) == brute_force_otsu(values)


def test_otsu_of_a_constant_image_leaves_nothing_above():
    assert not ink_mask(np.full((4, 4), 200, np.uint8)).any()


def test_ink_is_the_side_with_less_of_the_border():
    np.testing.assert_array_equal(ink_mask(square()), square() == 255)
    np.testing.assert_array_equal(ink_mask(square(ink=20, ground=240)), square() == 255)
    # More ink than background, but the border is background.
    large = square(side=15, inner=13, ink=20, ground=240)
    np.testing.assert_array_equal(ink_mask(large), large == 20)
    # Dark pixels make up 18 of the 44 on the border.
    wall = np.full((12, 12), 220, np.uint8)
    wall[8:] = 30
    np.testing.assert_array_equal(ink_mask(wall), wall == 30)


def test_distance_transform_of_a_square():
    (estimated,) = estimate(grey_images(square(side=9, inner=5)), "distance-transform")
    expected = np.zeros((9, 9))
    for depth in range(3):  # rings of the square, 1 to 3 px from the background
        expected[2 + depth : 7 - depth, 2 + depth : 7 - depth] = (depth + 1) / 3
    np.testing.assert_allclose(estimated, expected, atol=1e-6)
    assert estimated.dtype == np.float32


def test_contrast_and_polarity_do_not_matter():
    maps = estimate(
        grey_images(square(), square(ink=90, ground=60), square(ink=0, ground=255)),
        "distance-transform",
    )
    assert maps.max() == 1
    np.testing.assert_array_equal(maps[0], maps[1])
    np.testing.assert_array_equal(maps[0], maps[2])


def test_a_constant_image_becomes_zeros():
    maps = estimate(grey_images(np.full((8, 8), 255), np.zeros((8, 8))), "distance-transform")
    assert maps.shape == (2, 8, 8)
    assert not maps.any()


def test_grey_levels():
    colours = np.array([[[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]]], np.uint8)
    np.testing.assert_array_equal(grey_levels(colours).ravel(), [76, 150, 29, 255])
    greys = grey_images(np.arange(256).reshape(16, 16))
    np.testing.assert_array_equal(grey_levels(greys), greys[..., 0])


@pytest.fixture
def ramp_estimator(monkeypatch):
    """An estimator in a module of its own, which is not imported before it is asked for."""
    module = types.ModuleType("heavy_estimator")

    def ramp(images, scale=1.0):
        rows = np.arange(images.shape[1], dtype=float)[None, :, None]
        return scale * np.broadcast_to(rows - 5, images.shape[:3])

    module.ramp = ramp
    monkeypatch.setitem(sys.modules, "heavy_estimator", module)
    monkeypatch.setitem(structure.ESTIMATORS, "ramp", "heavy_estimator:ramp")


def test_any_range_is_stretched(ramp_estimator):
    maps = estimate(np.zeros((2, 5, 3, 3), np.uint8), "ramp", scale=7.0)
    np.testing.assert_allclose(maps[1, :, 0], [0, 0.25, 0.5, 0.75, 1], atol=1e-6)


def test_unknown_options_and_bad_maps_are_refused(ramp_estimator):
    images = np.zeros((1, 5, 3, 3), np.uint8)
    with pytest.raises(UserError, match=r"'ramp'.*'size'"):
        estimate(images, "ramp", size=3)
    with pytest.raises(UserError, match="NaN or infinity"):
        estimate(images, "ramp", scale=np.nan)
    with pytest.raises(UserError, match=r"'distance-transform'.*'size'"):
        estimate(images, "distance-transform", size=3)


def test_unknown_estimators_are_refused_with_a_suggestion():
    with pytest.raises(UserError, match="did you mean `distance-transform`"):
        estimate(np.zeros((1, 5, 5, 3), np.uint8), "distance_tranform")


def test_other_images_are_refused():
    with pytest.raises(UserError, match=r"uint8 \(N, H, W, 3\)"):
        estimate(np.zeros((1, 5, 5, 3), np.float32), "distance-transform")
    with pytest.raises(UserError, match=r"uint8 \(N, H, W, 3\)"):
        estimate(np.zeros((1, 5, 5), np.uint8), "distance-transform")


def test_no_images_give_no_maps():
    assert estimate(np.zeros((0, 5, 4, 3), np.uint8), "distance-transform").shape == (0, 5, 4)
