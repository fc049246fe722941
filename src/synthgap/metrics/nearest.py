"""For each point the nearest of another set, proven, in bounded memory however long points are.

The squared distance of two points is the plain sum of squared differences of their rows in
float64. Bounds of it come from float32 matrix products (`synthgap.metrics.distances`) over some
columns at a time: the bounds of parts add up to bounds of the whole, are tighter than those of one
long product, and tens of thousands of columns need not be in memory. Only pairs that the bounds
leave open, mostly one a row, are computed in full.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from synthgap.errors import UserError
from synthgap.metrics.distances import Floats, Indices, Points, Tiles, U, slices

# Rows of a tile, and columns of a product.
_BLOCK = {"cpu": 2048, "cuda": 4096}
_COLUMNS = 2048
# Numbers read at once for pairs that are computed in full: 64 MB as float64.
_NUMBERS_AT_ONCE = 2**22


def nearest(
    points: NDArray[Any],
    others: NDArray[Any],
    *,
    block: int | None = None,
    columns: int = _COLUMNS,
    device: str = "cpu",
) -> tuple[Indices, Floats]:
    """For each of `points` its nearest of `others`, the first of those equally near.

    Args:
        points: (m, d) of a numeric type; may be mapped from a file.
        others: (n, d), likewise.
        block: rows per tile; changes memory and speed, never the result.
        columns: of one product; the same holds.
        device: torch's, for the products.

    Returns:
        (m,) indices of `others`, and (m,) squared distances.

    Raises:
        UserError: no points, different widths, values that are not finite or too large to square,
            block or columns below 1.
    """
    if block is None:
        block = _BLOCK[torch.device(device).type]
    if block < 1 or columns < 1:
        raise UserError(f"nearest: block and columns must be at least 1: {block}, {columns}")
    if points.ndim != 2 or others.ndim != 2 or points.shape[1] != others.shape[1]:
        raise UserError(
            f"nearest: expected two matrices of one width, {points.shape} and {others.shape}"
        )
    if not len(points) or not len(others):
        raise UserError(f"nearest: no points among {len(points)} and {len(others)}")
    where = np.zeros(len(points), dtype=np.int64)
    best = np.full(len(points), np.inf)
    for some in slices(len(others), block):
        for rows in slices(len(points), block):
            lower, upper = _bounds(points[rows], others[some], columns, device)
            limit = np.minimum(upper.min(axis=1), best[rows])
            # Sorted by row and then by column, so that the first of equals is met first.
            i, j = np.nonzero(lower <= limit[:, None])
            squares = _squared(points[rows], i, others[some], j)
            order = np.lexsort((j, squares, i))
            first, at = np.unique(i[order], return_index=True)
            chosen = order[at]
            better = squares[chosen] < best[rows][first]
            rows_better = first[better] + rows.start
            best[rows_better] = squares[chosen][better]
            where[rows_better] = j[chosen][better] + some.start
    return where, best


def _bounds(
    points: NDArray[Any], others: NDArray[Any], columns: int, device: str
) -> tuple[Floats, Floats]:
    """Lower and upper bounds, each (len(points), len(others)), of all squared distances."""
    lower = np.zeros((len(points), len(others)))
    left, right = np.zeros(len(points)), np.zeros(len(others))
    parts = list(slices(points.shape[1], columns))
    for part in parts:
        a, b = Points("first", points[:, part]), Points("second", others[:, part])
        tiles = Tiles(a, b, device)
        square = tiles.scale * tiles.scale
        values = tiles.upper(slice(0, len(a)), slice(0, len(b))).cpu().numpy()
        lower += values * (-2.0 / square)
        # As `Tiles.limits` has it, but for each side by itself.
        width = 2 * (tiles.slack + 2 * U)
        left += 2 * (width * tiles.left.halves + 4 * tiles.tiny) / square
        right += 2 * width * tiles.right.halves / square
    # Sums of so many float64 round, too: by less than this share of what was added.
    rounding = (len(parts) + 8) * 2.0**-52
    slack = rounding * (left[:, None] + right[None] + np.abs(lower))
    upper = lower + left[:, None] + right[None]
    return lower - slack, upper + slack


def _squared(points: NDArray[Any], i: Indices, others: NDArray[Any], j: Indices) -> Floats:
    """(len(i),) squared distances of pairs; exactly 0 for equal rows."""
    found = np.empty(len(i))
    for part in slices(len(i), max(1, _NUMBERS_AT_ONCE // points.shape[1])):
        a, b = points[i[part]].astype(np.float64), others[j[part]].astype(np.float64)
        found[part] = np.square(a - b).sum(axis=-1)
    return found
