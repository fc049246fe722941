"""The radial power spectrum of images: how much contrast they hold at each frequency.

Generators that upsample leave too much or too little at high frequencies, and natural images
follow a power law that they miss: Durall et al., Watch Your Up-Convolution (CVPR 2020); Dzanic et
al., Fourier Spectrum Discrepancies in Deep Network Generated Images (NeurIPS 2020). Paper A,
section 4.4 ("Power Spectrum"), infers as much from classifiers that see low or high frequencies;
here it is measured in the images themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Literal, NamedTuple, get_args

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from synthgap.errors import UserError

Window = Literal["hann", "none"]
Floats = NDArray[np.float64]

ROUNDING_POWER = 1 / 12 / 255**2
"""The power of rounding to 8 bits, about -59 dB at every frequency: the variance of an error that
is uniform over one of 255 steps. What an image holds below it cannot be told from rounding."""

# A transform takes images of so many pixels together: one of 256 px, or 64 of 32 px. More leave
# the cache, which took twice as long; fewer pay for each call.
_PIXELS_AT_ONCE = 2**16
# At most so many counts of drawn images are held at once (16 MB, in a few copies).
_COUNTS_AT_ONCE = 2_000_000


class Measure(NamedTuple):
    """One metric at one frequency with its interval, in dB; NaN limits where there is none."""

    metric: str
    frequency: int
    value: float
    low: float
    high: float
    n: int


def radial_power(images: NDArray[np.uint8], window: Window = "hann") -> Floats:
    """Power of each image's brightness at each frequency, averaged over directions.

    An image becomes BT.601 luma in [0, 1], less its mean, times a window. |F|^2 of its Fourier
    transform, divided by the sum of the squared window, is averaged over the ring of frequencies
    whose radius rounds to k (halves up), so that white noise of standard deviation s has the
    expected power s^2 in every ring. Without a window, the powers of all frequencies average to the
    image's variance.

    A window keeps the jump between opposite edges, which are no neighbours in the scene, from
    spilling over all frequencies as 1/f^2. It also blurs the spectrum by a frequency: ring 1
    then shares the mean that was taken off, and of white noise it shows 0.7 s^2.

    Args:
        images: uint8 (N, H, W, 3), N >= 1, both sides >= 2.
        window: "hann", in its periodic form and weighting the mean too, or "none".

    Returns:
        (N, K), K = min(H, W) // 2; column k - 1 holds ring k, in cycles per min(H, W) pixels, that
        is cycles an image where it is square. Powers are >= 0. Those of an image do not depend on
        the others.

    Raises:
        UserError: no images, another shape or type, a side below 2, an unknown window.

    Examples:
        >>> noise = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
        >>> powers = radial_power(noise)
        >>> powers.shape
        (4, 16)
        >>> bool(np.allclose(decibels(powers)[:, 4:].mean(), -14.3, atol=0.5))  # white: level
        True
    """
    _check_images(images)
    count, height, width, _ = images.shape
    taper = _taper(height, width, window)
    ring, share = _rings(height, width)
    rings = min(height, width) // 2
    powers = np.empty((count, rings))
    block = max(1, _PIXELS_AT_ONCE // (height * width))
    for start in range(0, count, block):
        power = _power(_luma(images[start : start + block]), taper)
        for index, one in enumerate(power, start):
            # A product with all rings at once is slower, and rounds by the number of images.
            sums = np.bincount(ring, weights=one.ravel() * share, minlength=rings + 1)
            powers[index] = sums[1 : rings + 1]
    return powers


def decibels(powers: Floats) -> Floats:
    """10 log10(P + q) of powers P >= 0, any shape, with q = `ROUNDING_POWER`.

    Differences of P far below q are rounding and vanish; a flat image comes out at -59 dB rather
    than at minus infinity.
    """
    found: Floats = 10 * np.log10(powers + ROUNDING_POWER)
    return found


def measure(powers: Floats, *, resamples: int = 2000, seed: int = 0) -> list[Measure]:
    """Mean and spread over images of the power in dB, for each frequency, with 95 % intervals.

    `radial_power_db` is the mean over images, `radial_power_db_sd` their standard deviation (with
    N - 1). The mean is one of decibels, so that a few images of high contrast do not decide it.
    Intervals are percentile bootstraps over images; every resample draws the same images for all
    frequencies, since those of an image go together.

    Memory: five times the powers, and 64 MB.

    Args:
        powers: (N, K) of `radial_power`, N >= 2.
        resamples: bootstrap samples, at least 2.
        seed: of the resampling; the same arguments give the same intervals.

    Returns:
        The means at frequencies 1..K, then the deviations. Where all images agree to the last
        digit, the bootstrap knows of no spread, and both limits are NaN.

    Raises:
        UserError: fewer than two images, no frequency, values that are negative or not finite, or
            fewer than two resamples.
    """
    if powers.ndim != 2 or powers.shape[0] < 2 or powers.shape[1] < 1:
        raise UserError(
            "power spectrum: a spread needs powers of the shape (images, frequencies) of two or "
            f"more images, got {powers.shape}"
        )
    if not (np.isfinite(powers).all() and (powers >= 0).all()):
        raise UserError("power spectrum: some powers are negative, NaN or infinite")
    if resamples < 2:
        raise UserError(f"the bootstrap needs at least 2 resamples: {resamples}")

    values = decibels(powers)
    n = len(values)
    centre = values.mean(axis=0)
    moments = values - centre  # about the mean, where the squares' difference loses no digits
    moments = np.hstack([moments, np.square(moments)])
    drawn = np.concatenate([counts @ moments / n for counts in _drawn_counts(n, resamples, seed)])
    means, squares = np.hsplit(drawn, 2)
    deviations = np.sqrt(np.maximum(squares - np.square(means), 0) * n / (n - 1))
    constant = (values == values[0]).all(axis=0)
    return [
        Measure(metric, k, float(value), float(low), float(high), n)
        for metric, found, resampled in (
            ("radial_power_db", centre, means + centre),
            ("radial_power_db_sd", values.std(axis=0, ddof=1), deviations),
        )
        for k, (value, low, high) in enumerate(
            zip(found, *_limits(resampled, constant), strict=True), 1
        )
    ]


def _limits(resampled: Floats, constant: NDArray[np.bool_]) -> Floats:
    """(2, K): the 2.5 and 97.5 % quantiles of (resamples, K); NaN where values are constant."""
    limits: Floats = np.quantile(resampled, [0.025, 0.975], axis=0)
    limits[:, constant] = np.nan
    return limits


def _drawn_counts(n: int, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each of n images is drawn: blocks of float64 (block, n), `resamples` rows in all.

    Counting drawn indices gives the multinomial distribution four times faster than numpy's.
    """
    rng = np.random.default_rng(seed)
    block = max(1, _COUNTS_AT_ONCE // n)
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = rng.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * n)
        yield counts.reshape(rows, n).astype(np.float64)


def _luma(images: NDArray[np.uint8]) -> Floats:
    """(n, H, W) BT.601 luma in [0, 1]. A product with a vector would take twice as long."""
    red, green, blue = np.moveaxis(images, -1, 0)
    luma: Floats = red * (0.299 / 255)
    luma += green * (0.587 / 255)
    luma += blue * (0.114 / 255)
    return luma


def _power(luma: Floats, taper: Floats) -> Floats:
    """|F|^2 over the sum of the squared window, for the half plane of a real transform.

    (n, H, W) to (n, H, W // 2 + 1); zero frequency first. Overwrites `luma`: fresh memory for
    each step would take as long as the steps.
    """
    # Image by image in the same order; `einsum` orders a sum by the number of images.
    means = (luma * taper).reshape(len(luma), -1).sum(axis=1) / taper.sum()
    luma -= means[:, None, None]
    luma *= taper
    spectrum = scipy.fft.rfft2(luma, overwrite_x=True)
    power: Floats = np.square(spectrum.real)
    power += np.square(spectrum.imag)
    power /= np.square(taper).sum()
    return power


@lru_cache(maxsize=8)
def _rings(height: int, width: int) -> tuple[NDArray[np.intp], Floats]:
    """For the flattened half plane: each frequency's ring, and its share of the ring's mean.

    A frequency stands for its mirror image too, except in the columns that hold both.
    """
    side = min(height, width)
    rows, columns = np.arange(height), np.arange(width // 2 + 1)
    # Multiplied before it is divided, halves are exact and do not fall either way.
    up = np.minimum(rows, height - rows) * side / height
    across = columns * side / width
    ring = np.floor(np.hypot(up[:, None], across) + 0.5).astype(np.intp).ravel()
    stands_for = np.where((columns == 0) | (2 * columns == width), 1.0, 2.0)
    weights = np.tile(stands_for, height)
    share = weights / np.bincount(ring, weights=weights)[ring]
    for array in (ring, share):
        array.flags.writeable = False  # every caller shares the cached arrays
    return ring, share


def _taper(height: int, width: int, window: Window) -> Floats:
    """The window, (H, W)."""
    if window not in get_args(Window):
        raise UserError(f"unknown window {window!r}; known: {', '.join(get_args(Window))}")
    if window == "none":
        return np.ones((height, width))
    sides = [0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n) for n in (height, width)]
    return np.outer(*sides)


def _check_images(images: NDArray[np.uint8]) -> None:
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise UserError(
            "power spectrum: images must be uint8 (N, H, W, 3), "
            f"got {images.dtype} of shape {images.shape}"
        )
    if not len(images):
        raise UserError("power spectrum: there are no images")
    if min(images.shape[1:3]) < 2:
        raise UserError(
            f"power spectrum: images of {images.shape[1]} x {images.shape[2]} px hold no "
            "frequency; both sides must be 2 or more"
        )
