"""Radial power against the plain FFT route, known spectra, and the command."""

import json
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import measure_spectrum
from synthgap.data.shards import Sample, ShardWriter, gather
from synthgap.errors import UserError
from synthgap.metrics import spectrum
from synthgap.metrics.intervals import bootstrap_mean
from synthgap.metrics.spectrum import ROUNDING_POWER, decibels, measure, radial_power
from synthgap.metrics.table import read, rows

SIZES = [(16, 16), (15, 15), (16, 11), (9, 20), (14, 28), (2, 2), (3, 5)]


def random_images(count, height, width, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, size=(count, height, width, 3), dtype=np.uint8)


def grey(luma):
    """Brightness in [0, 1], (H, W), as one image."""
    levels = np.rint(255 * np.asarray(luma)).astype(np.uint8)
    return np.repeat(levels[None, :, :, None], 3, axis=3)


def by_hand(images, window):
    """The definition on the whole shifted plane, image by image and ring by ring."""
    height, width = images.shape[1:3]
    side = min(height, width)
    taper = np.ones((height, width))
    if window == "hann":
        # The symmetric window of one more point, without its last, is the periodic one.
        taper = np.outer(np.hanning(height + 1)[:-1], np.hanning(width + 1)[:-1])
    up = (np.arange(height) - height // 2) * side / height
    across = (np.arange(width) - width // 2) * side / width
    radius = np.hypot(*np.meshgrid(up, across, indexing="ij"))
    found = []
    for image in images:
        luma = image @ np.array([0.299, 0.587, 0.114]) / 255
        luma = (luma - np.average(luma, weights=taper)) * taper
        power = np.abs(np.fft.fftshift(np.fft.fft2(luma))) ** 2 / (taper**2).sum()
        rings = [(k - 0.5 <= radius) & (radius < k + 0.5) for k in range(1, side // 2 + 1)]
        found.append([power[ring].mean() for ring in rings])
    return np.array(found)


@pytest.mark.parametrize("window", ["hann", "none"])
@pytest.mark.parametrize("size", SIZES)
def test_equals_the_plain_route(size, window):
    images = random_images(3, *size)
    np.testing.assert_allclose(
        radial_power(images, window), by_hand(images, window), rtol=1e-9, atol=1e-20
    )


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(2, 40),
    width=st.integers(2, 40),
    count=st.integers(1, 5),
    window=st.sampled_from(["hann", "none"]),
)
def test_equals_the_plain_route_at_any_size(height, width, count, window):
    images = random_images(count, height, width, seed=height)
    powers = radial_power(images, window)
    assert powers.shape == (count, min(height, width) // 2)
    assert powers.dtype == np.float64
    np.testing.assert_allclose(powers, by_hand(images, window), rtol=1e-9, atol=1e-20)


@pytest.mark.parametrize("size", SIZES)
def test_all_frequencies_add_up_to_the_variance(size):
    """Parseval: the half plane, with what each frequency stands for, is all there is."""
    images = random_images(2, *size)
    luma = spectrum._luma(images)
    variance = luma.var(axis=(1, 2))
    power = spectrum._power(luma, np.ones(size))
    columns = np.arange(size[1] // 2 + 1)
    stands_for = np.where((columns == 0) | (2 * columns == size[1]), 1, 2)
    total = (power * stands_for).sum(axis=(1, 2)) / np.prod(size)
    np.testing.assert_allclose(total, variance, rtol=1e-12)


@pytest.mark.parametrize("size", [(64, 64), (48, 80)])
def test_white_noise_is_flat_at_its_variance(size):
    rng = np.random.default_rng(0)
    # Clipping and rounding change the variance a little, so it is taken from the pixels.
    noise = np.clip(rng.normal(0.5, 0.1, size=(400, *size)), 0, 1)
    images = np.concatenate([grey(image) for image in noise])
    variance = (images[..., 0] / 255).var()
    plain, windowed = (radial_power(images, window).mean(axis=0) for window in ("none", "hann"))
    np.testing.assert_allclose(plain, variance, rtol=0.1)
    np.testing.assert_allclose(windowed[1:], variance, rtol=0.1)
    assert windowed[0] == pytest.approx(0.7 * variance, rel=0.15)  # shares the mean


@pytest.mark.parametrize(("up", "across", "ring"), [(0, 5, 5), (7, 0, 7), (3, 4, 5), (6, 7, 9)])
def test_a_grating_lands_in_its_ring(up, across, ring):
    y, x = np.mgrid[:32, :32] / 32
    image = grey(0.5 + 0.4 * np.cos(2 * np.pi * (up * y + across * x)))
    plain = radial_power(image, "none")[0]
    assert plain.argmax() == ring - 1
    assert np.delete(plain, ring - 1).max() < 1e-4 * plain.max()  # rounding to 8 bits
    assert radial_power(image)[0].argmax() == ring - 1


def test_frequencies_are_those_of_the_shorter_side():
    """Stripes of four pixels are a quarter of a cycle a pixel, whichever way they run."""
    stripes = np.tile([0.2, 0.2, 0.8, 0.8], (16, 12))  # (16, 48)
    for image in (grey(stripes), grey(stripes.T)):
        assert radial_power(image, "none")[0].argmax() == 4 - 1  # 16 / 4


@pytest.mark.parametrize("size", [(8, 8), (24, 30), (33, 17), (128, 96)])
def test_an_image_does_not_depend_on_its_batch(size):
    images = random_images(90, *size)
    together = radial_power(images)
    np.testing.assert_array_equal(radial_power(images[::-1])[::-1], together)
    for index in (0, 1, 63, 64, 89):
        alone = radial_power(images[index : index + 1])
        np.testing.assert_array_equal(alone[0], together[index])


def test_the_input_is_left_alone():
    images = random_images(3, 12, 12)
    before = images.copy()
    radial_power(images)
    np.testing.assert_array_equal(images, before)


def test_a_flat_image_is_finite_in_decibels():
    flat = np.full((2, 16, 16, 3), 77, np.uint8)
    found = decibels(radial_power(flat))
    np.testing.assert_allclose(found, 10 * np.log10(ROUNDING_POWER), atol=1e-9)
    assert found[0, 0] == pytest.approx(-58.9, abs=0.05)


def test_rounding_to_8_bits_has_the_power_that_it_is_said_to_have():
    smooth = np.random.default_rng(0).random((64, 64))
    error = np.rint(255 * smooth) / 255 - smooth
    assert error.var() == pytest.approx(ROUNDING_POWER, rel=0.05)


@pytest.mark.parametrize(
    ("images", "window", "message"),
    [
        (np.zeros((0, 8, 8, 3), np.uint8), "hann", "no images"),
        (np.zeros((1, 8, 8, 3), np.float32), "hann", "uint8"),
        (np.zeros((8, 8, 3), np.uint8), "hann", "shape"),
        (np.zeros((1, 8, 8), np.uint8), "hann", "shape"),
        (np.zeros((1, 8, 8, 4), np.uint8), "hann", "shape"),
        (np.zeros((1, 1, 8, 3), np.uint8), "hann", "no frequency"),
        (np.zeros((1, 8, 8, 3), np.uint8), "hamming", "unknown window 'hamming'; known: hann"),
    ],
)
def test_other_images_are_refused(images, window, message):
    with pytest.raises(UserError, match=message) as caught:
        radial_power(images, window)
    assert "\n" not in str(caught.value)


def random_powers(n=200, frequencies=6, seed=0):
    rng = np.random.default_rng(seed)
    return np.exp(rng.normal(size=(n, frequencies)) - np.arange(frequencies))


def by_metric(found):
    return {(m.metric, m.frequency): m for m in found}


def test_mean_and_spread_are_those_of_the_decibels():
    powers = random_powers()
    found = by_metric(measure(powers, resamples=200))
    assert len(found) == 12
    for k in range(1, 7):
        values = 10 * np.log10(powers[:, k - 1] + ROUNDING_POWER)
        mean, spread = found["radial_power_db", k], found["radial_power_db_sd", k]
        assert mean.value == pytest.approx(values.mean(), abs=1e-12)
        assert spread.value == pytest.approx(values.std(ddof=1), abs=1e-12)
        assert mean.low < mean.value < mean.high
        assert spread.low < spread.value < spread.high
        assert mean.n == spread.n == 200


def test_the_mean_has_the_interval_of_the_other_metrics():
    powers = random_powers()
    for found in measure(powers, resamples=4000)[:6]:
        values = decibels(powers[:, found.frequency - 1])
        expected = bootstrap_mean(values, resamples=4000)
        width = expected.high - expected.low
        assert found.low == pytest.approx(expected.low, abs=0.05 * width)
        assert found.high == pytest.approx(expected.high, abs=0.05 * width)


def test_intervals_of_normal_values_are_the_textbook_ones():
    values = np.random.default_rng(0).normal(-20, 3, size=(2000, 1))
    mean, spread = measure(10 ** (values / 10))
    assert (mean.high - mean.low) / 2 == pytest.approx(1.96 * 3 / np.sqrt(2000), rel=0.1)
    assert (spread.high - spread.low) / 2 == pytest.approx(1.96 * 3 / np.sqrt(4000), rel=0.15)


def test_blocks_of_resamples_add_up(monkeypatch):
    powers = random_powers(50)
    whole = measure(powers, resamples=300)
    assert whole == measure(powers, resamples=300)
    assert whole != measure(powers, resamples=300, seed=1)
    monkeypatch.setattr(spectrum, "_COUNTS_AT_ONCE", 7 * 50)
    blocks = list(spectrum._drawn_counts(50, 300, 0))
    assert max(map(len, blocks)) == 7
    assert sum(map(len, blocks)) == 300
    assert all((counts.sum(axis=1) == 50).all() for counts in blocks)


def test_what_does_not_vary_has_no_interval():
    powers = random_powers(20, 2)
    powers[:, 0] = 0.1
    found = by_metric(measure(powers, resamples=50))
    for metric, value in (("radial_power_db", -10), ("radial_power_db_sd", 0)):
        assert found[metric, 1].value == pytest.approx(value, abs=1e-3)
        assert np.isnan([found[metric, 1].low, found[metric, 1].high]).all()
        assert np.isfinite([found[metric, 2].low, found[metric, 2].high]).all()


@pytest.mark.parametrize(
    ("powers", "resamples", "message"),
    [
        (np.ones((1, 4)), 100, "two or more"),
        (np.ones((0, 4)), 100, "two or more"),
        (np.ones((3, 0)), 100, "two or more"),
        (np.ones(3), 100, "two or more"),
        (np.full((3, 4), np.nan), 100, "NaN"),
        (np.full((3, 4), -1.0), 100, "negative"),
        (np.ones((3, 4)), 1, "at least 2 resamples"),
    ],
)
def test_other_powers_are_refused(powers, resamples, message):
    with pytest.raises(UserError, match=message):
        measure(powers, resamples=resamples)


def run_command(tmp_path, monkeypatch, images, samples):
    with ShardWriter(tmp_path / "00000.tar", "png") as writer:
        for index, image in enumerate(images):
            writer.add(Sample(f"a-{index:03d}", 0, "a"), image)
    gather([tmp_path / "00000.tar"], tmp_path / "manifest.parquet")
    about = {"generator": "g", "prompts": "caption", "x": 2.0, "x_name": "guidance scale"}
    options = {
        "manifest": tmp_path / "manifest.parquet",
        "source": "g-caption",
        "about": json.dumps(about),
        "samples": samples,
        "seed": 3,
        "metrics": tmp_path / "spectrum.parquet",
    }
    words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
    monkeypatch.setattr(sys, "argv", ["measure_spectrum.py", *words])
    measure_spectrum.main(measure_spectrum.options().parse_args())
    return about, rows(read(tmp_path / "spectrum.parquet"))


def test_the_command_measures_the_first_images(tmp_path, monkeypatch):
    images = random_images(70, 12, 12)
    about, found = run_command(tmp_path, monkeypatch, images, samples=66)  # more than a batch
    expected = by_metric(measure(radial_power(images[:66]), seed=3))
    assert len(found) == len(expected) == 12
    for row in found:
        measured = expected[row.metric, row.settings["frequency"]]
        assert (row.value, row.ci_low, row.ci_high) == (measured.value, measured.low, measured.high)
        assert (row.study, row.train_source, row.test_source) == ("transfer", None, "g-caption")
        assert (row.view, row.n) == ("rgb", 66)
        shaped = {"frequency": measured.frequency, "window": "hann", "samples": 66}
        assert row.settings == about | shaped


def test_the_command_says_what_to_lower(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"has 4 images.*spectrum_samples asks for 5; lower"):
        run_command(tmp_path, monkeypatch, random_images(4, 8, 8), samples=5)
