"""The filters against the plain FFT route of the papers, and the 8-bit encodings."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgap.errors import UserError
from synthgap.views import frequency
from synthgap.views.cutoff import half_width_from_nyquist
from synthgap.views.frequency import band_pass, high_pass, low_pass
from synthgap.views.quantise import to_uint8

SIZES = [(16, 16), (15, 15), (16, 11), (9, 20), (2, 2), (3, 5)]


def random_images(shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).random(shape).astype(dtype)


def box(shape, half_width):
    """The mask as the papers draw it, on the shifted spectrum."""
    height, width = shape
    rows, columns = height // 2, width // 2
    mask = np.zeros(shape)
    mask[rows - half_width : rows + half_width, columns - half_width : columns + half_width] = 1
    return mask


def disc(shape, half_width):
    mask = np.zeros(shape)
    for row in range(shape[0]):
        for column in range(shape[1]):
            distance = np.hypot(row - shape[0] // 2, column - shape[1] // 2)
            mask[row, column] = distance <= half_width
    return mask


def fft_reference(images, mask):
    spectrum = np.fft.fftshift(np.fft.fft2(images.astype(float), axes=(1, 2)), axes=(1, 2))
    kept = np.fft.ifftshift(spectrum * mask[None, :, :, None], axes=(1, 2))
    return np.fft.ifft2(kept, axes=(1, 2)).real


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("mask_shape", "mask"), [("rectangle", box), ("circle", disc)])
def test_equals_the_fft_route_at_every_half_width(size, mask_shape, mask):
    images = random_images((3, *size, 2))
    for r in range(1, min(size) // 2 + 1):
        expected = fft_reference(images, mask(size, r))
        np.testing.assert_allclose(low_pass(images, r, mask_shape=mask_shape), expected, atol=1e-5)
        np.testing.assert_allclose(
            high_pass(images, r, mask_shape=mask_shape), images - expected, atol=1e-5
        )
        for low in range(1, r):
            expected = fft_reference(images, mask(size, r) - mask(size, low))
            band = band_pass(images, low, r, mask_shape=mask_shape)
            np.testing.assert_allclose(band, expected, atol=1e-5)


@pytest.mark.parametrize("size", [(96, 96), (97, 103), (100, 90)])
def test_both_ways_to_filter_equal_the_fft_route_at_real_sizes(size):
    """Matrix products up to 40, transforms above."""
    images = random_images((1, *size, 3))
    for r in (1, 2, 17, 39, 40, 41, min(size) // 2 - 1, min(size) // 2):
        expected = fft_reference(images, box(size, r))
        np.testing.assert_allclose(low_pass(images, r), expected, atol=1e-5)
        if r > 2:
            expected = expected - fft_reference(images, box(size, 2))
            np.testing.assert_allclose(band_pass(images, 2, r), expected, atol=1e-5)


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16, np.int64, np.uint64])
def test_half_widths_may_be_numpys_integers(kind):
    images = random_images((1, 128, 128, 1))
    for mask_shape in ("rectangle", "circle"):
        frequency._weights.cache_clear()  # equal numbers share an entry
        by_numpy = low_pass(images, kind(50), mask_shape=mask_shape)
        band = band_pass(images, kind(20), kind(50), mask_shape=mask_shape)
        frequency._weights.cache_clear()
        np.testing.assert_array_equal(low_pass(images, 50, mask_shape=mask_shape), by_numpy)
        np.testing.assert_array_equal(band_pass(images, 20, 50, mask_shape=mask_shape), band)


@pytest.mark.parametrize("low", [-1, 0.0, False, 6])
def test_lower_ends_that_do_not_fit_are_refused(low):
    with pytest.raises(UserError, match="`low` must be an integer from 0 to 5"):
        band_pass(random_images((1, 20, 11, 3)), low, 5)


def test_a_transposed_image_gives_the_transposed_result():
    images = random_images((1, 30, 44, 3))
    turned = np.swapaxes(images, 1, 2)
    np.testing.assert_allclose(
        np.swapaxes(low_pass(turned, 7), 1, 2), low_pass(images, 7), atol=1e-5
    )


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(2, 40),
    width=st.integers(2, 40),
    count=st.integers(1, 5),
    channels=st.integers(1, 4),
    dtype=st.sampled_from([np.float32, np.float64]),
    data=st.data(),
)
def test_low_and_high_add_up_for_any_size_and_type(height, width, count, channels, dtype, data):
    r = data.draw(st.integers(1, min(height, width) // 2))
    images = random_images((count, height, width, channels), seed=r, dtype=dtype)
    low, high = low_pass(images, r), high_pass(images, r)
    assert low.dtype == high.dtype == np.float32
    assert low.shape == high.shape == images.shape
    np.testing.assert_allclose(low, fft_reference(images, box((height, width), r)), atol=1e-5)
    np.testing.assert_array_equal(high, images.astype(np.float32) - low)


def test_bands_that_share_their_ends_add_up_to_the_image():
    images = random_images((2, 32, 32, 3))
    bands = [band_pass(images, 0, 2), band_pass(images, 2, 7), band_pass(images, 7, 12)]
    np.testing.assert_allclose(sum(bands) + high_pass(images, 12), images, atol=1e-5)
    np.testing.assert_array_equal(bands[0], low_pass(images, 2))


def test_energy_is_that_of_the_kept_frequencies():
    """Parseval: squared pixels sum to squared spectrum over the number of pixels."""
    images = random_images((1, 17, 17, 1))
    r = 4
    spectrum = np.fft.fftshift(np.fft.fft2(images[0, :, :, 0]))
    mask = box((17, 17), r)
    weights = (mask + mask[::-1, ::-1]) / 2  # an odd size is its own reflection about the centre
    expected = (np.abs(weights * spectrum) ** 2).sum() / 17**2
    assert np.square(low_pass(images, r), dtype=float).sum() == pytest.approx(expected, rel=1e-5)


def test_the_whole_box_is_the_identity():
    images = random_images((2, 8, 8, 3))
    np.testing.assert_array_equal(low_pass(images, 4), images)
    assert not high_pass(images, 4).any()


def test_a_wave_passes_only_where_its_frequency_lies():
    wave = np.cos(2 * np.pi * 3 * np.arange(24) / 24)
    images = np.tile(wave, (24, 1))[None, :, :, None].astype(np.float32)
    np.testing.assert_allclose(low_pass(images, 4), images, atol=1e-5)
    np.testing.assert_allclose(low_pass(images, 2), 0, atol=1e-5)
    # The half-open box holds -3 and not +3: half the amplitude.
    np.testing.assert_allclose(low_pass(images, 3), images / 2, atol=1e-5)
    np.testing.assert_allclose(low_pass(images, 3, mask_shape="circle"), images, atol=1e-5)


def test_an_image_does_not_depend_on_its_batch():
    images = random_images((5, 24, 30, 3))
    together = low_pass(images, 5)
    for index in range(5):
        np.testing.assert_array_equal(low_pass(images[index : index + 1], 5)[0], together[index])


def test_the_input_is_left_alone():
    images = random_images((3, 12, 12, 3))
    before = images.copy()
    for call in (low_pass, high_pass):
        call(images, 6)[:] = -1
        call(images, 3)[:] = -1
    band_pass(images, 1, 3)[:] = -1
    np.testing.assert_array_equal(images, before)


def test_views_of_an_image_need_not_lie_in_a_row():
    images = random_images((2, 24, 24, 3))
    for other in (images[:, ::-1], images[..., ::-1], images[:, ::2, ::2], images[::-1]):
        np.testing.assert_array_equal(low_pass(other, 5), low_pass(other.copy(), 5))


def test_no_images_give_no_images():
    assert low_pass(np.zeros((0, 8, 8, 3), np.float32), 2).shape == (0, 8, 8, 3)


@pytest.mark.parametrize("half_width", [0, -1, 6, 2.0, True, "2"])
def test_half_widths_that_do_not_fit_are_refused(half_width):
    images = random_images((1, 20, 11, 3))  # 11 // 2 = 5
    low_pass(images, 5)
    with pytest.raises(UserError, match="from 1 to 5"):
        low_pass(images, half_width)
    with pytest.raises(UserError, match="from 1 to 5"):
        high_pass(images, half_width)
    with pytest.raises(UserError, match="`high` must be an integer from 1 to 5"):
        band_pass(images, 1, half_width)


@pytest.mark.parametrize(("low", "high"), [(4, 2), (3, 3)])
def test_an_empty_band_is_refused(low, high):
    with pytest.raises(UserError, match="is empty"):
        band_pass(random_images((1, 16, 16, 3)), low, high)


def test_other_input_is_refused():
    with pytest.raises(UserError, match="shape"):
        low_pass(random_images((16, 16, 3)), 2)
    with pytest.raises(UserError, match="divide by 255"):
        low_pass(np.zeros((1, 16, 16, 3), np.uint8), 2)
    with pytest.raises(UserError, match="rectangle, circle"):
        low_pass(random_images((1, 16, 16, 3)), 2, mask_shape="square")


@pytest.mark.parametrize(
    ("fraction", "side", "half_width"),
    [(0.1, 256, 12), (1, 256, 128), (1, 7, 3), (0.58, 100, 29), (0.29, 200, 29)],
)
def test_half_width_from_nyquist(fraction, side, half_width):
    assert half_width_from_nyquist(fraction, side) == half_width


@pytest.mark.parametrize("fraction", [0, -0.1, 1.01, 0.05])
def test_cut_offs_outside_the_spectrum_are_refused(fraction):
    with pytest.raises(UserError, match="Nyquist"):
        half_width_from_nyquist(fraction, 32)


def as_image(*values):
    return np.array(values, np.float32).reshape(1, 1, -1, 1)


def test_clip_rounds_and_counts_what_does_not_fit():
    stored, clipped = to_uint8(as_image(-0.1, -0.001, 0, 0.5, 1, 1.001, 2), "clip")
    np.testing.assert_array_equal(stored.ravel(), [0, 0, 0, 128, 255, 255, 255])
    assert clipped == 2  # -0.001 and 1.001 round to levels that exist


def test_offset_puts_zero_on_a_level_of_the_middle():
    stored, clipped = to_uint8(as_image(-0.6, -0.5, 0, 1e-4, -1e-4, 0.25, 0.49, 0.6), "offset")
    np.testing.assert_array_equal(stored.ravel(), [0, 0, 128, 128, 128, 192, 253, 255])
    assert clipped == 2


def test_any_value_can_be_white():
    for mode in ("clip", "offset", "minmax"):
        images = random_images((2, 5, 6, 3)) - 0.5
        by_one, _ = to_uint8(images, mode)
        by_levels, _ = to_uint8(images * np.float32(255), mode, white=255)
        assert abs(by_one.astype(int) - by_levels).max() <= 1
        assert (by_one == by_levels).mean() > 0.98


def test_minmax_stretches_each_channel_of_each_image():
    images = np.zeros((2, 1, 3, 2), np.float32)
    images[0, 0, :, 0] = [0.2, 0.3, 0.4]
    images[0, 0, :, 1] = 0.7
    images[1, 0, :, 0] = [-1, 0.5, 3]
    images[1, 0, :, 1] = [0.7, 0.7, 0.7 + 1e-7]
    stored, clipped = to_uint8(images, "minmax")
    np.testing.assert_array_equal(stored[0, 0, :, 0], [0, 128, 255])
    np.testing.assert_array_equal(stored[1, 0, :, 0], [0, 128, 255])
    assert not stored[:, :, :, 1].any()  # constant, but for rounding noise
    assert clipped == 2


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([np.float16, np.float32, np.float64]), st.integers(0, 2**32 - 1))
def test_every_level_survives_the_way_to_float_and_back(dtype, seed):
    levels = np.random.default_rng(seed).permutation(256).astype(np.uint8).reshape(1, 16, 16, 1)
    stored, clipped = to_uint8(levels.astype(dtype) / dtype(255), "clip")
    np.testing.assert_array_equal(stored, levels)
    assert clipped == 0


def test_encoding_leaves_its_input_alone_and_refuses_nonsense():
    images = as_image(0.1, 0.9)
    for mode in ("clip", "offset", "minmax"):
        to_uint8(images, mode)
    np.testing.assert_array_equal(images, as_image(0.1, 0.9))
    with pytest.raises(UserError, match="clip, offset, minmax"):
        to_uint8(images, "gamma")
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(UserError, match="NaN or infinity"):
            to_uint8(as_image(0, bad, 1), "clip")
