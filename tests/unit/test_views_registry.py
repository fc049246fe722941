"""The registry of views: every kind, its facts, and what it refuses."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from synthgap.errors import UserError
from synthgap.views import VIEW_KINDS, apply_view, module_of
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
]
FLOATS = IMAGES.astype(np.float32) / np.float32(255)


def levels(floats):
    return np.rint(np.clip(floats, 0, 1) * 255).astype(np.uint8)


def test_the_examples_cover_every_kind():
    assert {spec["kind"] for spec in SPECS} == set(VIEW_KINDS)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec["kind"])
def test_every_view_is_rgb_and_independent_of_its_batch(spec):
    before = IMAGES.copy()
    views, facts = apply_view(IMAGES, spec, SEEDS)
    assert views.dtype == np.uint8
    assert views.shape[0] == 3
    assert views.shape[3] == 3
    assert facts["kind"] == spec["kind"]
    json.dumps(facts)
    np.testing.assert_array_equal(IMAGES, before)
    for index in range(3):
        one, _ = apply_view(IMAGES[index : index + 1], spec, SEEDS[index : index + 1])
        np.testing.assert_array_equal(one[0], views[index])


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec["kind"])
def test_no_images_give_no_views(spec):
    views, _ = apply_view(IMAGES[:0], spec, [])
    assert views.shape[0] == 0


def test_low_pass_is_stored_as_brightness():
    views, facts = apply_view(IMAGES, SPECS[0], SEEDS)
    np.testing.assert_array_equal(views, levels(low_pass(FLOATS, 4)))
    assert facts == {
        "kind": "low_pass",
        "mask": "rectangle",
        "encode": "clip",
        "clipped_values": facts["clipped_values"],
    }


def test_high_and_band_pass_are_stored_around_the_middle():
    views, facts = apply_view(IMAGES, SPECS[1], SEEDS)
    high = high_pass(FLOATS, 4, mask_shape="circle")
    np.testing.assert_array_equal(views, levels(high + np.float32(0.5)))
    assert facts["encode"] == "offset"
    assert facts["clipped_values"] == np.count_nonzero(np.abs(high) > 0.5 + 0.5 / 255) > 0

    views, facts = apply_view(IMAGES, SPECS[2], SEEDS)
    np.testing.assert_array_equal(views, levels(band_pass(FLOATS, 2, 6) + np.float32(0.5)))
    assert facts["encode"] == "offset"


def test_a_band_from_zero_is_a_low_pass():
    band, facts = apply_view(IMAGES, {"kind": "band_pass", "low": 0, "high": 4}, SEEDS)
    np.testing.assert_array_equal(band, apply_view(IMAGES, SPECS[0], SEEDS)[0])
    assert facts["encode"] == "clip"


def test_the_encoding_can_be_chosen():
    views, facts = apply_view(IMAGES, {**SPECS[1], "encode": "minmax"}, SEEDS)
    assert facts["encode"] == "minmax"
    assert (views.min(axis=(1, 2)) == 0).all()
    assert (views.max(axis=(1, 2)) == 255).all()


def test_patches_and_crops():
    views, facts = apply_view(IMAGES, SPECS[4], SEEDS)
    np.testing.assert_array_equal(views, shuffle_patches(IMAGES, 8, SEEDS))
    assert (facts["height"], facts["width"]) == (16, 16)
    views, facts = apply_view(IMAGES, SPECS[5], SEEDS)
    np.testing.assert_array_equal(views, center_crop(IMAGES, 12))
    assert (facts["height"], facts["width"]) == (12, 12)


def test_depth_has_three_equal_channels_and_counts_constant_maps():
    images = np.zeros((2, 9, 9, 3), np.uint8)
    images[0, 2:7, 2:7] = 200
    views, facts = apply_view(images, SPECS[3], [0, 0])
    np.testing.assert_array_equal(views[..., 0], views[..., 1])
    np.testing.assert_array_equal(views[..., 0], views[..., 2])
    np.testing.assert_array_equal(views[0, 4, :, 0], [0, 0, 85, 170, 255, 170, 85, 0, 0])
    assert not views[1].any()
    assert facts == {"kind": "depth", "estimator": "distance-transform", "constant_maps": 1}


def test_module_of_names_only_what_the_view_uses():
    assert module_of("low_pass") == "synthgap.views.frequency"
    assert module_of("depth") == "synthgap.views.structure"
    assert module_of("patches") == "synthgap.views.patches"


def test_importing_the_registry_imports_no_view_and_no_heavy_library():
    code = (
        "import sys, synthgap.views as views; views.module_of('depth'); "
        "print([m for m in sys.modules if m.startswith(('synthgap.views.', 'scipy', 'torch'))])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("spec", [{"kind": "lowpass"}, {"kind": "low-pass"}])
def test_unknown_kinds_are_refused_with_a_suggestion(spec):
    with pytest.raises(UserError, match=r"did you mean `low_pass`\?"):
        apply_view(IMAGES, spec, SEEDS)


def test_other_input_is_refused():
    with pytest.raises(UserError, match="unknown view kind ``"):
        apply_view(IMAGES, {}, SEEDS)
    with pytest.raises(UserError, match="3 images need as many seeds, not 2"):
        apply_view(IMAGES, SPECS[0], SEEDS[:2])
    with pytest.raises(UserError, match="uint8"):
        apply_view(FLOATS, SPECS[0], SEEDS)
    with pytest.raises(UserError, match="uint8"):
        apply_view(IMAGES[..., :1], SPECS[0], SEEDS)
