"""Shuffled patches and crops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgap.errors import UserError
from synthgap.views.patches import center_crop, random_crops, shuffle_patches


def numbered_images(count, height, width, channels=1):
    """Images whose pixels are all different as long as there are at most 256."""
    numbers = np.arange(count * height * width * channels) % 256
    return numbers.astype(np.uint8).reshape(count, height, width, channels)


def tiles(image, patch):
    height, width = image.shape[:2]
    return [
        image[top : top + patch, left : left + patch].tobytes()
        for top in range(0, height - patch + 1, patch)
        for left in range(0, width - patch + 1, patch)
    ]


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 5),
    columns=st.integers(1, 5),
    patch=st.integers(1, 4),
    channels=st.integers(1, 3),
    seed=st.integers(0, 2**63 - 1),
)
def test_tiles_are_permuted_and_whole(rows, columns, patch, channels, seed):
    images = numbered_images(2, rows * patch, columns * patch, channels)
    shuffled = shuffle_patches(images, patch, [seed, seed + 1])
    assert shuffled.shape == images.shape
    assert shuffled.dtype == np.uint8
    for before, after in zip(images, shuffled, strict=True):
        assert sorted(tiles(before, patch)) == sorted(tiles(after, patch))


def test_tiles_do_move_and_the_seed_decides_where():
    images = np.repeat(numbered_images(1, 16, 16), 3, axis=0)
    first, second, again = shuffle_patches(images, 4, [1, 2, 1])
    assert (first != images[0]).any()
    assert (first != second).any()
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(shuffle_patches(images[:1], 4, [2])[0], second)


def test_every_place_is_equally_likely():
    images = np.repeat(numbered_images(1, 2, 2), 4000, axis=0)
    shuffled = shuffle_patches(images, 1, range(4000)).reshape(4000, 4)
    for place in range(4):
        counts = np.bincount(shuffled[:, place], minlength=4)
        assert (np.abs(counts - 1000) < 150).all()  # more than five standard deviations


def test_a_remainder_is_cropped_around_the_centre():
    images = numbered_images(1, 11, 13)
    shuffled = shuffle_patches(images, 4, [0])
    assert shuffled.shape == (1, 8, 12, 1)
    assert sorted(tiles(shuffled[0], 4)) == sorted(tiles(images[0, 1:9, 0:12], 4))


def test_one_patch_as_large_as_the_image_changes_nothing():
    images = numbered_images(2, 8, 8)
    np.testing.assert_array_equal(shuffle_patches(images, 8, [3, 4]), images)


def test_center_crop():
    images = numbered_images(2, 5, 8)
    np.testing.assert_array_equal(center_crop(images, 3), images[:, 1:4, 2:5])
    np.testing.assert_array_equal(center_crop(images, 4), images[:, 0:4, 2:6])
    center_crop(images, 5)[:] = 0
    np.testing.assert_array_equal(images, numbered_images(2, 5, 8))


def test_random_crops_lie_everywhere_in_the_image():
    images = numbered_images(1, 7, 9)
    crops, places = random_crops(images, 4, 600, [5])
    assert crops.shape == (1, 600, 4, 4, 1)
    assert places.shape == (1, 600, 2)
    corners = set()
    for crop, place in zip(crops[0], places[0].tolist(), strict=True):
        top, left = divmod(int(crop[0, 0, 0]), 9)
        assert place == [top, left]
        np.testing.assert_array_equal(crop, images[0, top : top + 4, left : left + 4])
        corners.add((top, left))
    assert corners == {(top, left) for top in range(4) for left in range(6)}


def test_random_crops_depend_on_the_image_and_its_seed_alone():
    images = np.repeat(numbered_images(1, 16, 16), 2, axis=0)
    crops, _ = random_crops(images, 5, 4, [8, 9])
    assert (crops[0] != crops[1]).any()
    np.testing.assert_array_equal(random_crops(images[1:], 5, 4, [9])[0][0], crops[1])
    np.testing.assert_array_equal(random_crops(images, 5, 2, [8, 9])[0], crops[:, :2])


@pytest.mark.parametrize("size", [0, -2, 9])
def test_sizes_that_do_not_fit_are_refused(size):
    images = numbered_images(1, 8, 12)
    for call in (
        lambda: shuffle_patches(images, size, [0]),
        lambda: center_crop(images, size),
        lambda: random_crops(images, size, 1, [0]),
    ):
        with pytest.raises(UserError, match="from 1 to 8 px"):
            call()


def test_other_input_is_refused():
    images = numbered_images(2, 8, 8)
    with pytest.raises(UserError, match="2 images need as many seeds"):
        shuffle_patches(images, 4, [1])
    with pytest.raises(UserError, match=">= 0"):
        random_crops(images, 4, 1, [1, -1])
    with pytest.raises(UserError, match="at least 1"):
        random_crops(images, 4, 0, [1, 2])
    with pytest.raises(UserError, match="uint8"):
        center_crop(images.astype(np.float32), 4)
