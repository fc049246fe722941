"""The registry of views: every kind, its facts, and what it refuses."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from synthgap.errors import UserError
from synthgap.views import VIEW_KINDS, make_view, modules_of
from synthgap.views.frequency import band_pass, high_pass, low_pass
from synthgap.views.patches import center_crop, shuffle_patches

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 16, 20, 3), dtype=np.uint8)
SEEDS = [11, 12, 13]
SPECS = [
    {"kind": "low_pass", "half_width": 4},
    {"kind": "high_pass", "half_width": 4, "mask": "circle"},
    {"kind": "band_pass", "low": 2, "high": 6},
    {"kind": "depth", "estimator": "distance-transform"},
    {"kind": "patches", "size": 8},
    {"kind": "center_crop", "size": 12},
    {"kind": "random_crops", "size": 12, "count": 2},
    {"kind": "resize", "size": 12},
    {"kind": "jpeg", "quality": 75},
]
FLOATS = IMAGES.astype(np.float32) / np.float32(255)


def test_the_examples_cover_every_kind():
    assert {spec["kind"] for spec in SPECS} == set(VIEW_KINDS)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec["kind"])
def test_every_view_is_of_8_bits_and_independent_of_its_batch(spec):
    before, view = IMAGES.copy(), make_view(spec)
    derived = view(IMAGES, SEEDS)
    copies = spec.get("count", 1)
    assert derived.images.dtype == np.uint8
    assert len(derived.images) == 3 * copies
    assert derived.images.ndim == 4 or spec["kind"] == "depth"
    json.dumps([derived.how, derived.counts, derived.boxes])
    np.testing.assert_array_equal(IMAGES, before)
    for index in range(3):
        one = view(IMAGES[index : index + 1], SEEDS[index : index + 1])
        expected = derived.images[index * copies : (index + 1) * copies]
        np.testing.assert_array_equal(one.images, expected)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec["kind"])
def test_no_images_give_no_views(spec):
    assert len(make_view(spec)(IMAGES[:0], []).images) == 0


def close(views, floats):
    """Equal to the rounded floats, but where they lie half-way between two levels."""
    exact = np.clip(floats, 0, 1) * 255
    assert np.abs(views - exact).max() < 0.5 + 1e-3


def test_low_pass_is_stored_as_brightness():
    derived = make_view(SPECS[0])(IMAGES, SEEDS)
    close(derived.images, low_pass(FLOATS, 4))
    assert derived.how == {"mask": "rectangle", "encode": "clip"}


def test_high_and_band_pass_are_stored_around_the_middle():
    middle = np.float32(128 / 255)
    derived = make_view(SPECS[1])(IMAGES, SEEDS)
    high = high_pass(FLOATS, 4, mask_shape="circle")
    close(derived.images, high + middle)
    assert derived.how["encode"] == "offset"
    outside = (high < -128.5 / 255) | (high > 127.5 / 255)
    assert derived.counts == {"clipped_values": np.count_nonzero(outside)}
    assert outside.any()

    derived = make_view(SPECS[2])(IMAGES, SEEDS)
    close(derived.images, band_pass(FLOATS, 2, 6) + middle)
    assert derived.how["encode"] == "offset"


def test_a_flat_image_is_flat_in_every_frequency_view():
    flat = np.full((1, 32, 32, 3), 77, np.uint8)
    for spec, level in zip(SPECS[:3], (77, 128, 128), strict=True):
        assert (make_view(spec)(flat, [0]).images == level).all()


def test_a_band_from_zero_is_a_low_pass():
    band = make_view({"kind": "band_pass", "low": 0, "high": 4})(IMAGES, SEEDS)
    low = make_view(SPECS[0])(IMAGES, SEEDS)
    np.testing.assert_array_equal(band.images, low.images)
    assert band.how["encode"] == "clip"


def test_the_encoding_can_be_chosen():
    derived = make_view({**SPECS[1], "encode": "minmax"})(IMAGES, SEEDS)
    assert derived.how["encode"] == "minmax"
    assert (derived.images.min(axis=(1, 2)) == 0).all()
    assert (derived.images.max(axis=(1, 2)) == 255).all()


def test_patches_and_crops():
    derived = make_view(SPECS[4])(IMAGES, SEEDS)
    np.testing.assert_array_equal(derived.images, shuffle_patches(IMAGES, 8, SEEDS))
    derived = make_view(SPECS[5])(IMAGES, SEEDS)
    np.testing.assert_array_equal(derived.images, center_crop(IMAGES, 12))
    derived = make_view(SPECS[6])(IMAGES, SEEDS)
    for place, (top, left, height, width) in enumerate(derived.boxes):
        part = IMAGES[place // 2, top : top + height, left : left + width]
        np.testing.assert_array_equal(derived.images[place], part)


def test_depth_is_grey_and_counts_constant_maps():
    images = np.zeros((2, 9, 9, 3), np.uint8)
    images[0, 2:7, 2:7] = 200
    derived = make_view(SPECS[3])(images, [0, 0])
    np.testing.assert_array_equal(derived.images[0, 4], [0, 0, 85, 170, 255, 170, 85, 0, 0])
    assert not derived.images[1].any()
    assert derived.how == {"estimator": "distance-transform", "normalise": "image"}
    assert derived.counts == {"constant_maps": 1, "clipped_values": 0}


def test_modules_of_names_only_what_the_view_uses():
    assert modules_of({"kind": "low_pass"}) == ["synthgap.views.frequency"]
    assert modules_of({"kind": "patches"}) == ["synthgap.views.patches"]
    structure = "synthgap.views.structure"
    for name in ("distance_transform", "depth_anything"):
        spec = {"kind": "depth", "estimator": name.replace("_", "-")}
        assert modules_of(spec) == [structure, f"synthgap.views.{name}"]


def test_importing_the_registry_imports_no_view_and_no_heavy_library():
    code = (
        "import sys, synthgap.views as views; views.modules_of({'kind': 'low_pass'}); "
        "print([m for m in sys.modules if m.startswith(('synthgap.views.', 'scipy', 'torch'))])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['synthgap.views.derived']"


@pytest.mark.parametrize("spec", [{"kind": "lowpass"}, {"kind": "low-pass"}])
def test_unknown_kinds_are_refused_with_a_suggestion(spec):
    with pytest.raises(UserError, match=r"did you mean `low_pass`\?"):
        make_view(spec)


def test_unknown_estimators_and_settings_are_refused_with_a_suggestion():
    with pytest.raises(UserError, match="did you mean `distance-transform`"):
        make_view({"kind": "depth", "estimator": "distance_tranform"})
    with pytest.raises(UserError, match=r"depth has no `normalize`.*did you mean `normalise`"):
        make_view({"kind": "depth", "estimator": "distance-transform", "normalize": "image"})
    with pytest.raises(UserError, match="low_pass has no `size`"):
        make_view({"kind": "low_pass", "half_width": 3, "size": 8})


def test_other_input_is_refused():
    with pytest.raises(UserError, match="unknown view kind ``"):
        make_view({})
    view = make_view(SPECS[0])
    with pytest.raises(UserError, match="3 images need as many seeds, not 2"):
        view(IMAGES, SEEDS[:2])
    with pytest.raises(UserError, match="uint8"):
        view(FLOATS, SEEDS)
    with pytest.raises(UserError, match="uint8"):
        view(IMAGES[..., :1], SEEDS)
    for spec in ({"kind": "center_crop", "size": 17}, {"kind": "random_crops", "size": 17}):
        with pytest.raises(UserError, match="from 1 to 16 px"):
            make_view(spec)(IMAGES, SEEDS)
