"""The rectangular low-pass as products of small matrices: no Fourier transform, for small masks.

The mask is separable, and an image filtered by it has only 2 r + 1 frequencies along either axis,
so r well below half the side leaves little to compute: the coefficients of cosines and sines down
the columns, then along the rows, and back. A matrix product runs several times nearer to a
processor's peak than a transform does. Folding a side about its middle, where cosines are even and
sines odd, halves each product.

The half-open mask [-r, r) holds the frequency -r and not +r. With its even part e and its odd part
o, the real part of the inverse transform is e along both axes minus o along both. The odd part has
only the frequencies -r and r, so it changes four of the coefficients.
"""

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]


class Basis(NamedTuple):
    """Cosines and sines of the kept frequencies along one side, on the folded positions."""

    cosines: Matrix  # (r + 1, n // 2 + 1)
    sines: Matrix  # (r, (n - 1) // 2); one less where r is the Nyquist frequency
    weights: Matrix  # (cosines + sines,): what a coefficient counts in the result


def low_pass_by_products(image: Matrix, half_width: int, out: Matrix) -> None:
    """Filter one image, float32 (H, W, C), as `synthgap.views.frequency.low_pass` does.

    half_width: 1 <= r <= min(H, W) // 2; the time grows with r.
    out: float32 (H, W, C), contiguous, which takes the result.
    """
    height, width, channels = image.shape
    down, along = _basis(height, half_width), _basis(width, half_width)

    coefficients = _analyse(image.reshape(height, -1), down).reshape(-1, width, channels)
    turned = _turned(coefficients)
    core = _analyse(turned.reshape(width, -1), along).reshape(
        len(along.weights), len(down.weights), channels
    )

    kept = core * (along.weights[:, None] * down.weights)[:, :, None]
    if 2 * half_width < min(height, width):
        cosine, sine = half_width, 2 * half_width  # places of the frequency r
        scale = np.float32(1 / (height * width))
        kept[sine, sine] -= scale * core[cosine, cosine]
        kept[sine, cosine] += scale * core[cosine, sine]
        kept[cosine, sine] += scale * core[sine, cosine]
        kept[cosine, cosine] -= scale * core[sine, sine]

    turned = np.empty((width, len(down.weights) * channels), np.float32)
    _synthesise(kept.reshape(len(along.weights), -1), along, turned)
    coefficients = _turned(turned.reshape(width, -1, channels))
    _synthesise(coefficients.reshape(len(down.weights), -1), down, out.reshape(height, -1))


def _turned(values: Matrix) -> Matrix:
    """Exchange the first two axes of (a, b, C), in memory too."""
    if values.shape[2] <= 4:  # OpenCV's limit; it is five times as fast
        turned = np.asarray(cv2.transpose(values), np.float32)
        return turned.reshape(values.shape[1], values.shape[0], -1)
    return np.ascontiguousarray(values.swapaxes(0, 1))


def _analyse(values: Matrix, basis: Basis) -> Matrix:
    """Coefficients of each column of (n, m): cosines, then sines."""
    n, middle = len(values), (len(values) - 1) // 2
    mirrored = values[: n // 2 : -1]  # position n - j, for j = 1 ... middle
    even = values[: n // 2 + 1].copy()
    even[1 : middle + 1] += mirrored
    odd = values[1 : middle + 1] - mirrored
    count = len(basis.cosines)
    found = np.empty((len(basis.weights), values.shape[1]), np.float32)
    np.matmul(basis.cosines, even, out=found[:count])
    np.matmul(basis.sines, odd, out=found[count:])
    return found


def _synthesise(coefficients: Matrix, basis: Basis, values: Matrix) -> None:
    """Fill the columns of `values`, (n, m), from their weighted coefficients."""
    n, count = len(values), len(basis.cosines)
    middle, first = (n - 1) // 2, values[: n // 2 + 1]
    np.matmul(basis.cosines.T, coefficients[:count], out=first)
    odd = basis.sines.T @ coefficients[count:]
    np.subtract(first[1 : middle + 1], odd, out=values[: n // 2 : -1])
    first[1 : middle + 1] += odd


@lru_cache(maxsize=8)
def _basis(n: int, half_width: int) -> Basis:
    nyquist = 2 * half_width == n
    frequencies = np.arange(half_width + 1)
    angles = 2 * np.pi / n * np.outer(frequencies, np.arange(n // 2 + 1))
    weights = np.full(half_width + 1, 2 / n)
    weights[0] = 1 / n
    weights[-1] = 1 / n  # half of 2 / n, as of -r and r the mask holds one; Nyquist is but one
    of_sines = slice(1, half_width if nyquist else half_width + 1)  # at Nyquist the sine is zero
    sines = np.sin(angles[of_sines, 1 : (n - 1) // 2 + 1])
    return Basis(
        np.cos(angles).astype(np.float32),
        sines.astype(np.float32),
        np.concatenate([weights, weights[of_sines]]).astype(np.float32),
    )
