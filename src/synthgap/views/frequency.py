"""Low-, high- and band-pass filters with an ideal mask (paper C, appendices A.2 and G).

The definition, as in FreeU: take the FFT of an image, shift its centre to (H//2, W//2), multiply
by a mask that is 1 in the half-open box [centre - r, centre + r) and 0 elsewhere, go back, and
take the real part. Half-widths r are in pixels of the spectrum: one pixel is one cycle an image.

The half-open box holds the frequency -r but not +r, so its inverse transform is complex. Taking
the real part is the same as filtering with the mean of the mask and its point reflection,
(M(k) + M(-k)) / 2. That mean is symmetric, hence it can be applied to the half spectrum of a real
FFT, of which a low-pass needs only the first r + 1 columns. This gives the definition's result to
float32 rounding, several times faster; for small rectangles, products of matrices are faster still
(`synthgap.views.products`).
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.fft

from synthgap.errors import UserError
from synthgap.views.derived import Derived, Images, View
from synthgap.views.products import low_pass_by_products
from synthgap.views.quantise import to_uint8

FloatImages = npt.NDArray[np.float32]

MASK_SHAPES = ("rectangle", "circle")

# Up to this half-width, matrix products are the faster way.
_PRODUCTS_UP_TO = 40


def low_pass(
    images: npt.NDArray[np.floating], half_width: int, *, mask_shape: str = "rectangle"
) -> FloatImages:
    """Keep the frequencies within `half_width` of zero.

    Args:
        images: float (N, H, W, C), usually in [0, 1]; each channel is filtered on its own.
        half_width: integer r, 1 <= r <= min(H, W) // 2, in cycles an image. With even H = W = 2r
            the rectangle holds the whole spectrum.
        mask_shape: `rectangle`, the half-open box [-r, r) along both axes (paper C, A.2), or
            `circle`, every frequency at a distance <= r from zero (its appendix G).

    Returns:
        float32 (N, H, W, C), not clipped: ringing leaves [0, 1].

    Raises:
        UserError: another shape, type, half-width or mask.

    Examples:
        >>> stripes = np.zeros((1, 8, 8, 3), np.float32)
        >>> stripes[:, :, ::2] = 1  # four stripes an image
        >>> low_pass(stripes, 2)[0, 0, :4, 0].round(3).tolist()
        [0.5, 0.5, 0.5, 0.5]
        >>> low_pass(stripes, 4)[0, 0, :4, 0].tolist()
        [1.0, 0.0, 1.0, 0.0]
    """
    images = _checked(images)
    half_width = _checked_half_width(half_width, images.shape, "half_width")
    if mask_shape == "rectangle" and 2 * half_width == images.shape[1] == images.shape[2]:
        return images.copy()
    if mask_shape == "rectangle" and half_width <= _PRODUCTS_UP_TO:
        filtered = np.empty_like(images)
        for index, image in enumerate(images):
            low_pass_by_products(image, half_width, filtered[index])
        return filtered
    return _filter(images, _weights(*images.shape[1:], 0, half_width, mask_shape))


def high_pass(
    images: npt.NDArray[np.floating], half_width: int, *, mask_shape: str = "rectangle"
) -> FloatImages:
    """Remove what `low_pass` keeps: `images - low_pass(images, ...)`, so the two are complements.

    Same arguments, result and errors as `low_pass`; the result has zero mean.

    Examples:
        >>> images = np.random.default_rng(0).random((1, 8, 8, 3), dtype=np.float32)
        >>> high = high_pass(images, 2)
        >>> bool(np.allclose(high + low_pass(images, 2), images))
        True
        >>> abs(float(high.mean())) < 1e-6
        True
    """
    images = _checked(images)
    return images - low_pass(images, half_width, mask_shape=mask_shape)


def band_pass(
    images: npt.NDArray[np.floating], low: int, high: int, *, mask_shape: str = "rectangle"
) -> FloatImages:
    """Keep the frequencies inside the mask of `high` and outside that of `low` (paper C, A.2).

    Bands that share their ends add up to the whole.

    Args:
        low: 0 <= low < high; 0 means no lower limit, the 0-10 band of paper C. All else is as of
            `low_pass`.

    Examples:
        >>> images = np.random.default_rng(0).random((1, 16, 16, 3), dtype=np.float32)
        >>> bands = [band_pass(images, 0, 2), band_pass(images, 2, 5), high_pass(images, 5)]
        >>> bool(np.allclose(sum(bands), images, atol=1e-6))
        True
    """
    images = _checked(images)
    high = _checked_half_width(high, images.shape, "high")
    low = _checked_half_width(low, images.shape, "low", least=0)
    if low == 0:
        return low_pass(images, high, mask_shape=mask_shape)
    if low >= high:
        raise UserError(f"the band {low}-{high} is empty: `low` must be below `high`")
    if mask_shape == "rectangle" and high <= _PRODUCTS_UP_TO:
        return low_pass(images, high) - low_pass(images, low)
    return _filter(images, _weights(*images.shape[1:], low, high, mask_shape))


def make_view(spec: dict[str, Any]) -> View:
    """The views `low_pass`, `high_pass` and `band_pass`; see `synthgap.views.make_view`."""
    kind, mask_shape = spec["kind"], spec.get("mask", "rectangle")
    # A low-pass image is still one of brightness; the other two swing around zero.
    keeps_mean = kind == "low_pass" or (kind == "band_pass" and spec["low"] == 0)
    encoding = spec.get("encode") or ("clip" if keeps_mean else "offset")

    def kept(block: FloatImages) -> FloatImages:
        if kind == "band_pass":
            return band_pass(block, spec["low"], spec["high"], mask_shape=mask_shape)
        keep = low_pass if kind == "low_pass" else high_pass
        return keep(block, spec["half_width"], mask_shape=mask_shape)

    def view(images: Images, seeds: Sequence[int]) -> Derived:
        filtered = np.empty_like(images)
        clipped = 0
        for index in range(len(images)):  # one at a time stays in the cache
            # In levels of 0 to 255, as the filters are linear.
            levels = kept(images[index : index + 1].astype(np.float32))
            filtered[index], count = to_uint8(levels, encoding, white=255, overwrite=True)
            clipped += count
        how = {"mask": mask_shape, "encode": encoding}
        return Derived(filtered, how, {"clipped_values": clipped})

    return view


def _filter(images: FloatImages, weights: FloatImages) -> FloatImages:
    """Multiply the first columns of each image's half spectrum by `weights`, drop the others."""
    columns = weights.shape[1]
    filtered = np.empty_like(images)
    # One at a time: together, an image's rounding would depend on how many there are.
    for index, image in enumerate(images):
        spectrum = scipy.fft.rfft(image, axis=1)[:, :columns]
        kept = scipy.fft.fft(spectrum, axis=0)
        kept.view(np.float32)[:] *= weights
        kept = scipy.fft.ifft(kept, axis=0, overwrite_x=True)
        # The columns that were dropped are put back as zeros.
        filtered[index] = scipy.fft.irfft(kept, n=image.shape[1], axis=1)
    return filtered


@lru_cache(maxsize=8)
def _weights(
    height: int, width: int, channels: int, low: int, high: int, mask_shape: str
) -> FloatImages:
    """(M(k) + M(-k)) / 2 of the mask M of a band, for the half spectrum, zero frequency first.

    float32 (H, columns, 2 C): the columns after `high` are zero and left out. It is repeated over
    the channels and their real and imaginary parts, as numpy multiplies that several times faster.
    """
    mask = _mask(height, width, high, mask_shape)
    if low > 0:
        mask &= ~_mask(height, width, low, mask_shape)
    mask = np.fft.ifftshift(mask)
    reflected = np.roll(mask[::-1, ::-1], 1, axis=(0, 1))  # k -> -k modulo the size
    weights = (mask.astype(np.float32) + reflected) / np.float32(2)
    columns = min(high, width // 2) + 1
    weights = np.repeat(weights[:, :columns, None], 2 * channels, axis=2)
    weights.flags.writeable = False  # every caller shares the cached array
    return weights


def _mask(height: int, width: int, half_width: int, mask_shape: str) -> npt.NDArray[np.bool_]:
    """The mask of a low-pass as the papers draw it, on the shifted spectrum: bool (H, W)."""
    rows = np.arange(height)[:, None] - height // 2
    columns = np.arange(width)[None, :] - width // 2
    if mask_shape == "rectangle":
        inside_rows = (-half_width <= rows) & (rows < half_width)
        return inside_rows & (-half_width <= columns) & (columns < half_width)
    if mask_shape == "circle":
        inside: npt.NDArray[np.bool_] = rows**2 + columns**2 <= half_width**2
        return inside
    raise UserError(f"unknown mask {mask_shape!r}; known: {', '.join(MASK_SHAPES)}")


def _checked(images: npt.NDArray[np.floating]) -> FloatImages:
    if images.ndim != 4:
        raise UserError(f"images must have the shape (N, H, W, C), not {images.shape}")
    if not np.issubdtype(images.dtype, np.floating):
        raise UserError(f"images must be floats in [0, 1], not {images.dtype}: divide by 255")
    return np.ascontiguousarray(images, np.float32)


def _checked_half_width(half_width: int, shape: tuple[int, ...], name: str, least: int = 1) -> int:
    """The half-width as Python's own integer: numpy's small ones overflow in the mask."""
    largest = min(shape[1:3]) // 2
    is_integer = isinstance(half_width, int | np.integer) and not isinstance(half_width, bool)
    if not is_integer or not least <= half_width <= largest:
        raise UserError(
            f"`{name}` must be an integer from {least} to {largest} (half the shorter side) for "
            f"images of {shape[1]} x {shape[2]} px, not {half_width!r}"
        )
    return int(half_width)
