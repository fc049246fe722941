"""SSIM of image pairs, and for each image the most similar one of another set, exactly and fast.

With the means mu, variances v and covariance c of two images x and y in a window around a pixel,

    SSIM = (2 mu_x mu_y + C1) (2 c + C2) / ((mu_x^2 + mu_y^2 + C1) (v_x + v_y + C2)),

C1 = (0.01 * 255)^2, C2 = (0.03 * 255)^2, averaged over the windows that lie wholly inside the
image, and then over channels. The window is Gaussian, sigma 1.5, 11 x 11 pixels.

Source: Wang et al., Image quality assessment: from error visibility to structural similarity (IEEE
Transactions on Image Processing, 2004). Values are those of scikit-image 0.26's
`structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
channel_axis=-1, data_range=255)`, whose border is cropped, so that how it pads has no part in it.

The search is in `Search`: only E[xy] is work of a pair. It is found in float32 with a proven
error; what float32 leaves open, a few pairs an image, is decided in float64 by `ssim`.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synthgap.errors import UserError
from synthgap.metrics.distances import U, full_precision, slices
from synthgap.metrics.similarity_bounds import C1, C2, Bounds, local_means

Window = Literal["gaussian", "uniform"]
Images = NDArray[np.uint8]
Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

SIGMA, RADIUS = 1.5, 5
K1, K2 = 0.01, 0.03
RANGE = 255.0
# Values of the training images that are compared with a generated one in one go, and skipped in one
# go: as many as a core's cache holds, with what is made of them.
_GROUP_VALUES = {"cpu": 100_000, "cuda": 2**24}
_LEAST_GROUP = 16
# Bytes of what is kept of training images at a time, and generated images bounded at a time.
_KEPT_BYTES = {"cpu": 2**29, "cuda": 8 * 2**30}
_ROWS_AT_ONCE = 512
# After that many generated images the bounds must have spared so many pairs, or they are let go.
_TRIAL, _WORTH = 32, 0.25
# Outputs of one product with a band matrix, most of which is zero if it is large.
_BAND = 22
_PAIRS_AT_ONCE = 32


def window_weights(window: Window) -> Floats:
    """Weights of the window along one side, which sum to 1: (11,) Gaussian, (7,) uniform."""
    if window not in get_args(Window):
        raise UserError(f"ssim: unknown window {window!r}; choose from {get_args(Window)}")
    if window == "uniform":
        return np.full(7, 1 / 7)
    weights = np.exp(-0.5 * np.square(np.arange(-RADIUS, RADIUS + 1) / SIGMA))
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def ssim(
    a: NDArray[Any], b: NDArray[Any], *, data_range: float = RANGE, window: Window = "gaussian"
) -> Floats:
    """SSIM of pairs of images, mean over channels; 1 for equal images.

    A pair's value depends neither on its place nor on the other pairs, and is the same both ways.

    Args:
        a, b: (n, height, width, channels), any numeric type; one channel for luma.
        data_range: of the values, 255 for 8 bits.
        window: "uniform" is 7 x 7 pixels of equal weight, as scikit-image's default.

    Returns:
        (n,) float64 in -1..1.

    Raises:
        UserError: shapes that differ or are no images, images smaller than the window, an unknown
            window, or a range that is not positive.

    Examples:
        >>> images = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), dtype=np.uint8)
        >>> ssim(images, images).tolist()
        [1.0]
    """
    weights = window_weights(window)
    if a.ndim != 4 or a.shape != b.shape:
        raise UserError(f"ssim: expected two (n, height, width, channels), {a.shape} and {b.shape}")
    _check_size(a.shape, len(weights))
    if not data_range > 0:
        raise UserError(f"ssim: the data range must be positive: {data_range}")
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    found = np.empty(len(a))
    for part in slices(len(a), _PAIRS_AT_ONCE):
        x = np.moveaxis(a[part], -1, 1).astype(np.float64)
        y = np.moveaxis(b[part], -1, 1).astype(np.float64)
        mx, my, exx, eyy, exy = (
            local_means(v, weights, (2, 3)) for v in (x, y, x * x, y * y, x * y)
        )
        top = (2 * (mx * my) + c1) * (2 * (exy - mx * my) + c2)
        bottom = (mx * mx + my * my + c1) * ((exx - mx * mx) + (eyy - my * my) + c2)
        found[part] = (top / bottom).reshape(len(x), -1).mean(axis=1)
    return found


def nearest_by_ssim(
    generated: Images,
    training: Images,
    *,
    device: str = "cpu",
    group: int | None = None,
    kept: int | None = None,
    prune: bool = True,
) -> tuple[Indices, Floats]:
    """For each generated image the training image of the largest SSIM, the first of equal ones.

    The answer is that of `ssim` over all pairs, whatever the device and the blocks.

    Args:
        generated: (m, height, width, channels) uint8; may be mapped from a file.
        training: (n, height, width, channels) uint8 of the same size; may be mapped from a file.
        device: torch's.
        group: training images a step; changes speed and memory, never the result.
        kept: training images whose local statistics are in memory at once; the same holds.
        prune: skip pairs whose SSIM is bounded below the best one; changes speed only.

    Returns:
        (m,) indices of training images, and (m,) their SSIM.

    Raises:
        UserError: images of different sizes, types or smaller than the window, or none.
    """
    for name, images in (("generated", generated), ("training", training)):
        if images.dtype != np.uint8 or images.ndim != 4 or not len(images):
            raise UserError(
                f"ssim: {name} images must be uint8 (n, height, width, channels), one or more; "
                f"got {images.dtype} of shape {images.shape}"
            )
    if generated.shape[1:] != training.shape[1:]:
        raise UserError(
            f"ssim: generated images are {generated.shape[1:]} and training images "
            f"{training.shape[1:]}; SSIM needs one size"
        )
    _check_size(generated.shape, 2 * RADIUS + 1)
    # 32 bytes a value: the maps, and as much again of float64 while they are made.
    fit = max(1, _KEPT_BYTES[torch.device(device).type] // (32 * generated[0].size))
    kept = kept or fit
    best, where = np.full(len(generated), -np.inf), np.zeros(len(generated), dtype=np.int64)
    for some in slices(len(training), kept):
        search = Search(np.asarray(training[some]), device, group, prune)
        trial = min(_TRIAL, fit, len(generated))
        rest = (
            slice(r.start + trial, r.stop + trial)
            for r in slices(len(generated) - trial, min(_ROWS_AT_ONCE, fit))
        )
        for rows in (slice(0, trial), *rest):
            found, value = search.nearest(np.asarray(generated[rows]), best[rows])
            better = value > best[rows]
            where[rows][better] = found[better] + some.start
            best[rows][better] = value[better]
            if search.spared < _WORTH:
                search.bounds = None
    return where, best


class _Maps(NamedTuple):
    """Local statistics at each window; of several images in the last dimension."""

    pixels: Tensor
    """(height, width, channels, n) less a whole number for each image and channel"""
    centred: Tensor
    """(windows, windows, channels, n) the mean of these"""
    mean: Tensor
    """of the pixels as they are"""
    brightness: Tensor
    """mean^2 + C1 / 2"""
    contrast: Tensor
    """variance + C2 / 2"""


class _Open:
    """Training images that may be the most similar to an image."""

    def __init__(self, low: float) -> None:
        self.low = low
        """what the best one's SSIM is not below"""
        self.index: list[Indices] = []
        self.high: list[Floats] = []

    def add(self, start: int, values: Floats, error: Floats) -> None:
        high = values + error
        if high.max() >= self.low:
            self.low = max(self.low, float((values - error).max()))
            near = np.flatnonzero(high >= self.low)
            self.index.append(near + start)
            self.high.append(high[near])

    def rest(self) -> Indices:
        """Those left, ascending."""
        if not self.index:
            return np.zeros(0, dtype=np.int64)
        index, high = np.concatenate(self.index), np.concatenate(self.high)
        return np.sort(index[high >= self.low])


class Search:
    """Training images, ready to be searched.

    Error of the float32 value, u = 2^-24. Centred pixels are whole, and their products exact. Two
    products with a band matrix of 11 weights a row, each rounded once, err by at most 26 u E|xy|;
    with mu_x mu_y and the difference, c errs by less than 40 u sqrt(E[x^2] E[y^2]). Its share in
    the window's SSIM is 2 / (v_x + v_y + C2) <= 1 / sqrt((v_x + C2 / 2) (v_y + C2 / 2)), so with
    r^2 the mean over windows of E[x^2] / (v_x + C2 / 2), SSIM errs by at most 40 u r_x r_y (Cauchy
    and Schwarz); all else is sums of positive terms and errs by some 20 u, and the sum over a row
    of windows by u for each. All of it is doubled.
    """

    def __init__(
        self, images: Images, device: str = "cpu", group: int | None = None, prune: bool = True
    ) -> None:
        self.images, self.device = images, torch.device(device)
        if group is None:
            group = max(_LEAST_GROUP, _GROUP_VALUES[self.device.type] // images[0].size)
        self.parts = list(slices(len(images), group))
        self.maps, roughness = [], []
        for part in self.parts:
            maps, rough = _maps(images[part], self.device)
            self.maps.append(maps)
            roughness.append(rough)
        self.roughness = np.concatenate(roughness)
        height, width = (side - 2 * RADIUS for side in images.shape[1:3])
        self.bands = [_band(side, self.device) for side in (height, width)]
        self.half_c1 = torch.tensor(C1 / 2, device=self.device)
        self.scratch: dict[int, list[Tensor]] = {}
        self.bounds = Bounds(images, window_weights("gaussian"), device) if prune else None
        self.spared = 0.0
        """Share of the pairs of the last call that were skipped."""

    def nearest(self, generated: Images, least: Floats) -> tuple[Indices, Floats]:
        """(m,) the first image of the largest SSIM, and it; anything up to `least` where none
        exceeds that."""
        every = [_maps(generated[at : at + 1], self.device) for at in range(len(generated))]
        _, windows, channels, _ = self.maps[0].mean.shape
        self.rest = 2 * (windows * channels + 24) * U
        open_pairs = [_Open(low) for low in least]
        starts = [part.start for part in self.parts]
        if self.bounds:
            upper = np.maximum.reduceat(self.bounds.upper(generated), starts, axis=1)
            first = upper.argmax(axis=1)
            # The most promising group tells how good the others have to be.
            for one, pairs, number in zip(every, open_pairs, first, strict=True):
                self._compare(one, int(number), pairs)
        compared = 0
        # Groups outside: each is read from memory once for many images.
        for number in range(len(self.parts)):
            for at, (one, pairs) in enumerate(zip(every, open_pairs, strict=True)):
                if self.bounds and (number == first[at] or upper[at, number] < pairs.low):
                    continue
                self._compare(one, number, pairs)
                compared += 1
        self.spared = 1 - compared / (len(every) * len(self.parts))
        index, value = np.zeros(len(every), dtype=np.int64), np.full(len(every), -np.inf)
        for at, pairs in enumerate(open_pairs):
            rest = pairs.rest()
            if len(rest):
                exact = self._exact(generated[at], rest)
                index[at], value[at] = rest[exact.argmax()], exact.max()
        return index, value

    def _compare(self, image: tuple[_Maps, Floats], number: int, pairs: _Open) -> None:
        """Compare an image with a group, and note which pairs may be the best."""
        part = self.parts[number]
        maps, rough = image
        error = 80 * U * rough[0] * self.roughness[part] + self.rest
        pairs.add(part.start, self._fast(maps, number), error)

    def _exact(self, image: Images, index: Indices) -> Floats:
        found = np.empty(len(index))
        for part in slices(len(index), _PAIRS_AT_ONCE):
            others = self.images[index[part]]
            found[part] = ssim(np.broadcast_to(image, others.shape), others)
        return found

    def _fast(self, one: _Maps, number: int) -> Floats:
        """(n,) SSIM of one image with those of a group, up to the error above."""
        maps = self.maps[number]
        count = maps.pixels.shape[-1]
        if count not in self.scratch:
            whole, windows = maps.pixels.shape, maps.mean.shape
            shapes = [whole, (windows[0], *whole[1:]), windows, windows]
            self.scratch[count] = [torch.empty(shape, device=self.device) for shape in shapes]
        product, half, top, other = self.scratch[count]
        torch.mul(maps.pixels, one.pixels, out=product)
        _filter(product, half, top, self.bands)
        top.addcmul_(maps.centred, one.centred, value=-1).add_(C2 / 2)
        torch.addcmul(self.half_c1, maps.mean, one.mean, out=other)
        top.mul_(other)
        torch.add(maps.brightness, one.brightness, out=other)
        top.div_(other)
        torch.add(maps.contrast, one.contrast, out=other)
        top.div_(other).mul_(4)
        found: Floats = top.flatten(1, 2).sum(1).double().sum(0).cpu().numpy()
        return found / top[..., 0].numel()


def _filter(
    product: Tensor, half: Tensor, out: Tensor, bands: list[list[tuple[slice, slice, Tensor]]]
) -> None:
    """E[xy] of (height, width, channels, n) at all windows: down the columns, then along rows."""
    down, along = bands
    with full_precision():
        for target, source, band in down:
            torch.mm(band, product[source].flatten(1), out=half[target].flatten(1))
        flat, found = half.flatten(2), out.flatten(2)
        for target, source, band in along:
            weights = band.expand(len(flat), *band.shape)
            torch.bmm(weights, flat[:, source], out=found[:, target])


def _band(windows: int, device: torch.device) -> list[tuple[slice, slice, Tensor]]:
    """Which windows are made of which pixels of a side, and the matrix that does it."""
    weights = window_weights("gaussian")
    size = math.ceil(windows / math.ceil(windows / _BAND))
    found = []
    for target in slices(windows, size):
        count = target.stop - target.start
        matrix = np.zeros((count, count + 2 * RADIUS))
        for row in range(count):
            matrix[row, row : row + len(weights)] = weights
        band = torch.from_numpy(matrix.astype(np.float32)).to(device)
        found.append((target, slice(target.start, target.stop + 2 * RADIUS), band))
    return found


def _maps(images: Images, device: torch.device) -> tuple[_Maps, Floats]:
    """Local statistics of images, in float64 and then rounded once; and r of each, see `Search`."""
    weights = window_weights("gaussian")
    pixels = np.moveaxis(images, -1, 1).astype(np.float64)
    centre = np.round(pixels.mean(axis=(2, 3), keepdims=True))
    pixels -= centre
    mean = local_means(pixels, weights, (2, 3))
    square = local_means(pixels * pixels, weights, (2, 3))
    contrast = np.maximum(square - mean * mean, 0) + C2 / 2
    roughness = np.sqrt((square / contrast).reshape(len(images), -1).mean(axis=1))
    maps = (pixels, mean, mean + centre, np.square(mean + centre) + C1 / 2, contrast)
    return _Maps(
        *(
            torch.from_numpy(np.ascontiguousarray(m.transpose(2, 3, 1, 0), "f4")).to(device)
            for m in maps
        )
    ), roughness


def _check_size(shape: tuple[int, ...], window: int) -> None:
    if min(shape[1:3]) < window:
        raise UserError(
            f"ssim: images of {shape[2]} x {shape[1]} pixels are smaller than the window of "
            f"{window} x {window}"
        )
