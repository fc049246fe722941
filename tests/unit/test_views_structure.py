"""Structure estimators, how maps become levels, and the choice of ink."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgap.errors import UserError
from synthgap.views.distance_transform import (
    distance_transform,
    grey_levels,
    ink_mask,
    otsu_threshold,
)
from synthgap.views.structure import make_view, to_levels


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
    (estimated,) = distance_transform(grey_images(square(side=9, inner=5)))
    expected = np.zeros((9, 9))
    for depth in range(3):  # rings of the square, 1 to 3 px from the background
        expected[2 + depth : 7 - depth, 2 + depth : 7 - depth] = depth + 1
    np.testing.assert_allclose(estimated, expected, atol=1e-6)
    assert estimated.dtype == np.float32


def test_contrast_and_polarity_do_not_matter():
    maps = distance_transform(
        grey_images(square(), square(ink=90, ground=60), square(ink=0, ground=255))
    )
    np.testing.assert_array_equal(maps[0], maps[1])
    np.testing.assert_array_equal(maps[0], maps[2])


def test_a_constant_image_gives_zeros():
    maps = distance_transform(grey_images(np.full((8, 8), 255), np.zeros((8, 8))))
    assert maps.shape == (2, 8, 8)
    assert not maps.any()


def test_grey_levels():
    colours = np.array([[[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]]], np.uint8)
    np.testing.assert_array_equal(grey_levels(colours).ravel(), [76, 150, 29, 255])
    greys = grey_images(np.arange(256).reshape(16, 16))
    np.testing.assert_array_equal(grey_levels(greys), greys[..., 0])


@settings(max_examples=40, deadline=None)
@given(
    low=st.floats(-100, 100),
    span=st.floats(1e-3, 1e3),
    bits=st.sampled_from([8, 16]),
    seed=st.integers(0, 99),
)
def test_each_map_is_stretched_by_its_own_range(low, span, bits, seed):
    shares = np.random.default_rng(seed).random((2, 5, 6))
    shares[:, 0, 0], shares[:, 0, 1] = 0, 1
    maps = (low + span * shares).astype(np.float32)
    levels, counts = to_levels(maps, bits=bits)
    top = 2**bits - 1
    assert levels.dtype == (np.uint8 if bits == 8 else np.uint16)
    exact = maps.astype(float) - maps.min(axis=(1, 2), keepdims=True)
    exact *= top / exact.max(axis=(1, 2), keepdims=True)
    assert np.abs(levels - exact).max() <= 0.5 + 1e-3 * top
    assert (levels.min(axis=(1, 2)) == 0).all()
    assert (levels.max(axis=(1, 2)) == top).all()
    assert counts == {"constant_maps": 0, "clipped_values": 0}


def test_constant_maps_become_zeros_and_are_counted():
    maps = np.stack([np.full((4, 5), 7.0), np.zeros((4, 5)), np.eye(4, 5)]).astype(np.float32)
    levels, counts = to_levels(maps)
    assert not levels[:2].any()
    assert levels[2].max() == 255
    assert counts["constant_maps"] == 2


def test_a_metric_range_is_kept_and_what_lies_outside_is_counted():
    maps = np.array([[[0, 5, 10, 20, 21, -1]]], np.float32)
    levels, counts = to_levels(maps, "metric", max_depth=20.0)
    np.testing.assert_array_equal(levels.ravel(), [0, 64, 128, 255, 255, 0])
    assert counts == {"constant_maps": 0, "clipped_values": 2}
    levels, _ = to_levels(maps, "metric", max_depth=20.0, bits=16)
    np.testing.assert_array_equal(levels.ravel(), [0, 16384, 32768, 65535, 65535, 0])
    with pytest.raises(UserError, match="max_depth"):
        to_levels(maps, "metric")


def test_maps_that_are_not_finite_are_refused():
    view = make_view({"kind": "depth", "estimator": "odd"}, lambda images: images[..., 0] * np.nan)
    with pytest.raises(UserError, match="'odd' returned NaN or infinity"):
        view(np.zeros((1, 5, 5, 3), np.uint8), [0])
