"""Upper bounds of SSIM for all pairs of two sets of images: cheap, and so most pairs are skipped.

With l = (2 mu_x mu_y + C1) / (mu_x^2 + mu_y^2 + C1), T = v_x + v_y + C2 and D = v_x + v_y - 2 c,
the variance of x - y in the window, SSIM is l (1 - D / T), where 0 <= l <= 1 and D >= 0. Over a
cell of neighbouring windows its mean is hence at most

    mean(l) - mean(D) min(l) / max(T).

mean(D) needs no more than the mean of c over the cell, which is one inner product of the cell's
pixels, weighted, less one of its means: a matrix product for all pairs. As (a - b)^2 / t is convex,
mean(l) <= 1 - (m_x - m_y)^2 / (q_x + q_y + C1) by Jensen's inequality, with m and q the cell's mean
of mu and of mu^2. min(l) and max(T) follow from each image's own least and largest values.

A product of K terms in float32 errs by at most gamma_K times the sum of their magnitudes (see
`synthgap.metrics.distances`), here by less than (K + 16) u (e_x + e_y) with e the cell's mean of
E[x^2]; twice that is taken off the variances beforehand. The rest errs by less than `MARGIN`.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synthgap.metrics.distances import U, full_precision, slices

Images = NDArray[np.uint8]
Floats = NDArray[np.float64]

# The constants of SSIM, for a range of 255.
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
# Windows along the side of a cell: larger ones are bounded sooner and worse.
CELL = 4
# Pairs whose values are in a core's cache at once; a GPU needs many.
_TILE = {"cpu": 2**16, "cuda": 2**26}
# Differences of means err most: by 3e-5 in l, where both images are all but black.
MARGIN = 3e-4


class _Cell:
    """Some neighbouring windows of one channel: what of images enters the bound there."""

    def __init__(self, channel: int, rows: slice, columns: slice, weights: Floats) -> None:
        self.windows = (channel, rows, columns)
        reach = len(weights) - 1
        self.pixels = (
            channel,
            slice(rows.start, rows.stop + reach),
            slice(columns.start, columns.stop + reach),
        )
        sides = []
        for side in (rows, columns):
            count = side.stop - side.start
            # How often, and how much, each pixel enters the windows.
            sides.append(np.convolve(np.full(count, 1 / count), weights))
        self.weights = torch.from_numpy(np.outer(*sides).astype(np.float32))
        self.count = (rows.stop - rows.start) * (columns.stop - columns.start)
        self.slack = 2 * (self.weights.numel() + self.count + 16) * U


class _Side:
    """One set of images: centred pixels, window means and each cell's statistics."""

    def __init__(
        self, images: Images, cells: list[_Cell], weights: Floats, device: torch.device
    ) -> None:
        pixels = images.transpose(3, 1, 2, 0).astype(np.float64)
        centre = np.round(pixels.mean(axis=(1, 2), keepdims=True))
        pixels -= centre
        centred = local_means(pixels, weights, (1, 2))
        square = local_means(pixels * pixels, weights, (1, 2))
        mean, variance = centred + centre, np.maximum(square - centred * centred, 0)
        self.pixels = torch.from_numpy(pixels.astype(np.float32)).to(device)
        self.centred = torch.from_numpy(centred.astype(np.float32)).to(device)
        rows = []
        for cell in cells:
            m, v = mean[cell.windows], variance[cell.windows]
            power = square[cell.windows].mean(axis=(0, 1))
            low = m.min(axis=(0, 1))
            rows.append(
                [
                    v.mean(axis=(0, 1)) - cell.slack * power,
                    m.mean(axis=(0, 1)),
                    np.square(m).mean(axis=(0, 1)) + C1 / 2,
                    low,
                    m.max(axis=(0, 1)),
                    low * low + C1 / 2,
                    v.max(axis=(0, 1)) + C2 / 2,
                ]
            )
        self.cells = torch.from_numpy(np.asarray(rows, dtype=np.float32)).to(device)

    def factors(self, cell: _Cell) -> Tensor:
        """(pixels + windows, n) of a cell."""
        n = self.pixels.shape[-1]
        parts = self.pixels[cell.pixels], self.centred[cell.windows]
        return torch.cat([part.reshape(-1, n) for part in parts])


class Bounds:
    """Bounds for a set of images, against any others of their size.

    Args:
        images: (n, height, width, channels) uint8.
        weights: of the window along one side.
        device: torch's, for the products.
    """

    def __init__(self, images: Images, weights: Floats, device: str = "cpu") -> None:
        self.weights, self.device = weights, torch.device(device)
        _, height, width, channels = images.shape
        rows, columns = (_split(side - len(weights) + 1) for side in (height, width))
        self.cells = [
            _Cell(channel, down, along, weights)
            for channel in range(channels)
            for down in rows
            for along in columns
        ]
        for cell in self.cells:
            cell.weights = cell.weights.to(self.device).flatten().unsqueeze(1)
        self.side = _Side(images, self.cells, weights, self.device)

    def upper(self, others: Images) -> NDArray[np.float32]:
        """(len(others), n) what the SSIM of a pair does not exceed."""
        left, right = _Side(others, self.cells, self.weights, self.device), self.side
        count = right.pixels.shape[-1]
        total = torch.zeros((len(others), count), device=self.device)
        windows = sum(cell.count for cell in self.cells)
        tile = max(1, _TILE[self.device.type] // len(others))
        for number, cell in enumerate(self.cells):
            mine, theirs = left.factors(cell), right.factors(cell)
            mine[: len(cell.weights)] *= cell.weights
            mine[len(cell.weights) :] /= -cell.count
            x, y = left.cells[number].unsqueeze(-1), right.cells[number].unsqueeze(1)
            for part in slices(count, tile):
                with full_precision():
                    covariance = mine.T @ theirs[:, part]
                below = _below_one(covariance, x, y[..., part])
                total[:, part].add_(below, alpha=cell.count / windows)
        found: NDArray[np.float32] = total.neg_().add_(1 + MARGIN).cpu().numpy()
        return found


def _below_one(covariance: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """How far below 1 the bound of a cell lies, (m, n), given the mean covariances.

    Args:
        covariance: (m, n); is overwritten.
        x, y: (statistics, m, 1) and (statistics, 1, n), see `_Side`.
    """
    # mean(D) / max(T)
    other = x[0] + y[0]
    found = covariance.mul_(-2).add_(other).clamp_(min=0)
    found.div_(torch.add(x[6], y[6], out=other))
    # min(l)
    least = torch.maximum(x[4] - y[3], torch.sub(y[4], x[3], out=other)).square_()
    least.div_(torch.add(x[5], y[5], out=other)).neg_().add_(1).clamp_(min=0)
    found.mul_(least)
    # 1 - mean(l)
    torch.sub(x[1], y[1], out=least).square_()
    return found.add_(least.div_(torch.add(x[2], y[2], out=other)))


def _split(windows: int) -> list[slice]:
    """Cells of nearly the same size along a side."""
    ends = np.linspace(0, windows, math.ceil(windows / CELL) + 1).round().astype(int)
    return [slice(int(a), int(b)) for a, b in itertools.pairwise(ends)]


def local_means(values: Floats, weights: Floats, axes: tuple[int, int]) -> Floats:
    """Weighted means in all windows that lie inside; both axes are shorter by a window less one.

    Shifted sums, one after the other: no two images get theirs in another order.
    """
    for axis in axes:
        moved = np.moveaxis(values, axis, 0)
        count = len(moved) - len(weights) + 1
        total = moved[:count] * weights[0]
        for shift in range(1, len(weights)):
            total += moved[shift : shift + count] * weights[shift]
        values = np.moveaxis(total, 0, axis)
    return values
