"""Squared distances between many points: bounded fast in float32, exact where that matters.

The distance of two points is that of their float64 rows, by the plain sum of squared differences.
Bounds of it come from one float32 matrix product for a whole tile. With u = 2^-24, a common
centre c, a power of two s, x = fl32(s (p - c)) for a point p, and h_x = |x|^2 / 2, the product of

    [x, 1, g_x]  and  [y, g_y, 1],   g_x >= -(1 - e) h_x

is V >= -s^2 |p - q|^2 / 2, and exceeds it by no more than 2 (e + 2 u) (h_x + h_y), for
e = 2 gamma_D + 5 u, gamma_D = D u / (1 - D u) and D = d + 2 terms. That is because

- a product of D terms, summed in any order, errs by at most gamma_D times the sum of the terms'
  magnitudes (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1), and that sum is
  at most 2 (h_x + h_y), as |x y| <= (x^2 + y^2) / 2;
- |x - s (p - c)| <= u |x| for each coordinate, so that ||x - y|^2 - s^2 |p - q|^2| is at most
  2 u (|x| + |y|)^2 to first order, which is at most 8 u (h_x + h_y);
- what of it is left of order u^2, and g rounded up, are within the last u.

Numbers too small for float32 add at most D 2^-126 to each error; that goes into g, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synthgap.errors import UserError

Distance = Literal["euclidean", "cosine"]
Side = Literal["row", "column"]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Indices = NDArray[np.int64]

U = 2.0**-24
TINY = 2.0**-126
# Squares below that lose digits in float64.
_SMALLEST = 1e-290
# Rows read and converted at once: some 30 MB of float64 at 1024 columns.
_ROWS_AT_ONCE = 4096
_PAIRS_AT_ONCE = 4096
# A set of at most so many bytes is kept packed; a larger one is packed again for each tile.
_KEPT_BYTES = {"cpu": 200 * 2**20, "cuda": 16 * 2**30}
# Tiles are searched by the largest of so many values at a time.
_CHUNK = 32


class Points:
    """The rows of a matrix as points, read a block at a time: an array in memory or mapped.

    Args:
        name: for messages: "real" or "generated".
        values: (n, d) of a numeric type.
        distance: "cosine" takes rows at unit length: |a - b|^2 / 2 is then 1 - cos.

    Raises:
        UserError: not a numeric matrix, values that are not finite, or too large or too small to
            be squared, or a zero row under "cosine".
    """

    def __init__(self, name: str, values: NDArray[Any], distance: Distance = "euclidean") -> None:
        if distance not in get_args(Distance):
            raise UserError(f"unknown distance {distance!r}; choose from {get_args(Distance)}")
        if values.ndim != 2 or values.shape[1] == 0 or values.dtype.kind not in "fiub":
            raise UserError(
                f"{name} features must be a numeric (rows, columns) matrix, "
                f"got {values.dtype} of shape {values.shape}"
            )
        self.name, self.values, self.distance = name, values, distance
        self.width = int(values.shape[1])
        self.norms = np.empty(len(values))
        total = np.zeros(self.width)
        for block in slices(len(values), _ROWS_AT_ONCE):
            rows = values[block].astype(np.float64)
            with np.errstate(over="ignore", invalid="ignore"):
                squares = np.square(rows).sum(axis=1)
            if not np.isfinite(squares).all():
                bad = block.start + int(np.flatnonzero(~np.isfinite(squares))[0])
                raise UserError(
                    f"{name} features are not finite or too large to square (row {bad})"
                )
            if ((squares > 0) & (squares < _SMALLEST)).any():
                bad = block.start + int(np.flatnonzero((squares > 0) & (squares < _SMALLEST))[0])
                raise UserError(f"{name} features are too small to square (row {bad})")
            self.norms[block] = np.sqrt(squares)
            if distance == "cosine":
                if not squares.all():
                    bad = block.start + int(np.flatnonzero(squares == 0)[0])
                    raise UserError(f"{name} row {bad} is zero and has no cosine distance")
                rows /= self.norms[block, None]
            total += rows.sum(axis=0)
        self.mean: Floats = total / max(len(values), 1)

    def __len__(self) -> int:
        return len(self.values)

    def rows(self, index: slice | Indices) -> Floats:
        """(len(index), d) the rows that distances are defined by."""
        rows: Floats = self.values[index].astype(np.float64)
        if self.distance == "cosine":
            rows /= self.norms[index, None]
        return rows

    def centred(self, index: slice, centre: Floats, scale: float) -> NDArray[np.float32]:
        """(len(index), d) `scale` times rows less `centre`, each rounded once to float32.

        `scale` is a power of two; `centre` is of numbers that float32 holds, unless it is huge.
        """
        if self.distance == "euclidean" and self.values.dtype in (np.float32, np.float16):
            rows = self.values[index].astype(np.float32)
            if max(np.abs(rows).max(initial=0), np.abs(centre).max(initial=0)) < 1e30:
                rows -= centre.astype(np.float32)
                rows *= np.float32(scale)
                return rows
        return ((self.rows(index) - centre) * scale).astype(np.float32)


def squared(a: Points, i: Indices, b: Points, j: Indices) -> Floats:
    """(len(i),) squared distances of row i of `a` and row j of `b`; exactly 0 for equal rows."""
    found = np.empty(len(i))
    for part in slices(len(i), _PAIRS_AT_ONCE):
        found[part] = np.square(a.rows(i[part]) - b.rows(j[part])).sum(axis=-1)
    return found


class Tiles:
    """Bounds of the squared distances between two sets, a tile at a time.

    Args:
        rows, columns: the sets; the same object where distances are within one set.
        device: torch's, for the products.
    """

    def __init__(self, rows: Points, columns: Points, device: str = "cpu") -> None:
        self.device = torch.device(device)
        counts = len(rows) + len(columns)
        mean = (rows.mean * len(rows) + columns.mean * len(columns)) / max(counts, 1)
        # As float32 holds it, so that subtracting it from float32 rows rounds but once.
        centre = mean.astype(np.float32).astype(np.float64) if np.abs(mean).max() < 1e30 else mean
        terms = rows.width + 2
        gamma = terms * U / (1 - terms * U)
        self.slack, self.tiny = 2 * gamma + 5 * U, terms * TINY
        largest = float(np.linalg.norm(centre)) + max(
            1.0 if points.distance == "cosine" else float(points.norms.max(initial=0))
            for points in (rows, columns)
        )
        # Norms of at most 1, so that nothing overflows; a scale that float32 holds, too.
        power = -np.ceil(np.log2(largest)) if largest > 0 else 0
        self.scale = float(2.0 ** min(126.0, power))
        self.left = _Packed(rows, centre, self)
        self.right = self.left if rows is columns else _Packed(columns, centre, self)

    def upper(self, rows: slice, columns: slice) -> Tensor:
        """(len(rows), len(columns)) float32 V, which -d^2 s^2 / 2 does not exceed."""
        left = self.left.block(rows, [1.0, None])
        right = self.right.block(columns, [None, 1.0])
        with torch.autocast(self.device.type, enabled=False), full_precision():
            return left @ right.T

    def least(self, squares: Floats) -> Tensor:
        """What V exceeds where a squared distance is below `squares`; never, where that is 0."""
        return self._thresholds(squares, -(squares * self.scale * self.scale) / 2, -np.inf)

    def enough(self, squares: Floats, halves: Floats, others: Floats) -> Tensor:
        """Where V exceeds this, a squared distance is below `squares`, and not by rounding alone.

        Args:
            squares, halves: (n,) of one side, its part of `left.halves` or `right.halves`; squares
                that are infinite are never told to be enough.
            others: these of the other side, of which the largest counts.
        """
        width = 2 * (self.slack + 2 * U) * (halves + others.max()) + 4 * self.tiny
        finite = np.where(np.isfinite(squares), squares, 0)
        below = finite * (1 - 32 * U) * self.scale * self.scale
        return self._thresholds(finite, width - below / 2, np.inf)

    def _thresholds(self, squares: Floats, values: Floats, towards: float) -> Tensor:
        single = np.nextafter(values.astype(np.float32), towards, dtype="f4")
        return torch.from_numpy(np.where(squares == 0, np.float32("inf"), single)).to(self.device)

    def limits(self, i: Indices, j: Indices, v: NDArray[np.float32]) -> tuple[Floats, Floats]:
        """Lower and upper bounds of the squared distances of pairs, given their V."""
        values = v.astype(np.float64)
        halves = self.left.halves[i] + self.right.halves[j]
        width = 2 * (self.slack + 2 * U) * halves + 4 * self.tiny
        lower = np.maximum(-2 * values, 0) / self.scale / self.scale
        upper = np.maximum(2 * (width - values), 0) / self.scale / self.scale
        # These lines round, too.
        return lower * (1 - 8 * 2.0**-53), upper * (1 + 8 * 2.0**-53)


class _Packed:
    """A set as factors of the products."""

    def __init__(self, points: Points, centre: Floats, tiles: Tiles) -> None:
        self.points, self.centre, self.scale = points, centre, tiles.scale
        self.device = tiles.device
        kept = len(points) * (points.width + 2) * 4 <= _KEPT_BYTES.get(self.device.type, 0)
        self.halves = np.empty(len(points))
        blocks = []
        for rows in slices(len(points), _ROWS_AT_ONCE):
            block = points.centred(rows, centre, tiles.scale)
            self.halves[rows] = np.square(block, dtype=np.float64).sum(axis=1) / 2
            if kept:
                blocks.append(torch.from_numpy(block).to(self.device))
        self.whole = torch.cat(blocks) if blocks else None
        # Rounded up: float32 rounds to nearest, and one step further is above.
        g = -(1 - tiles.slack) * self.halves + tiles.tiny
        self.g = torch.from_numpy(np.nextafter(g.astype(np.float32), np.inf, dtype="f4"))
        self.g = self.g.to(self.device)

    def block(self, rows: slice, ends: list[float | None]) -> Tensor:
        """(len(rows), d + 2) float32: the points, then each end, g where it is None."""
        if self.whole is not None:
            points = self.whole[rows]
        else:
            points = torch.from_numpy(self.points.centred(rows, self.centre, self.scale))
        shape = (len(points), points.shape[1] + 2)
        found = torch.empty(shape, dtype=torch.float32, device=self.device)
        found[:, :-2] = points
        for at, end in zip((-2, -1), ends, strict=True):
            found[:, at] = self.g[rows] if end is None else end
        return found


def above(
    values: Tensor, thresholds: Tensor, by: Side, most: float = 1.0
) -> tuple[Tensor, ...] | None:
    """Where values exceed the threshold of their row or column: rows, columns and values, sparse.

    Looks at the largest of 32 values first, at about the speed of reading the tile.

    Args:
        values: (m, n).
        thresholds: (m,) or (n,).
        most: give up, and return None, where more than this share of the chunks hold such values.
    """
    along = 1 if by == "row" else 0
    whole = values.shape[along] // _CHUNK * _CHUNK
    found = []
    if whole:
        parts = values.narrow(along, 0, whole).unflatten(along, (-1, _CHUNK))
        high = parts.amax(along + 1) > thresholds.unsqueeze(along)
        if most < 1 and high.count_nonzero() > most * high.numel():
            return None
        first, second = high.nonzero(as_tuple=True)
        # (hits, 32): of a row, the values of a chunk of columns; or the reverse.
        inside = parts[first, second] if by == "row" else parts[first, :, second]
        line = first if by == "row" else second
        hit, place = (inside > thresholds[line].unsqueeze(1)).nonzero(as_tuple=True)
        chunk = (second if by == "row" else first)[hit] * _CHUNK + place
        pair = (line[hit], chunk) if by == "row" else (chunk, line[hit])
        found.append((*pair, inside[hit, place]))
    if whole < values.shape[along]:
        rest = values.narrow(along, whole, values.shape[along] - whole)
        i, j = (rest > thresholds.unsqueeze(along)).nonzero(as_tuple=True)
        shifted = (i, j + whole) if by == "row" else (i + whole, j)
        found.append((*shifted, rest[i, j]))
    return tuple(torch.cat(part) for part in zip(*found, strict=True))


class full_precision:  # noqa: N801 - reads as a statement
    """Keep torch's float32 products from being made of shorter numbers (TF32, bfloat16)."""

    def __enter__(self) -> None:
        self.before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")

    def __exit__(self, *_: object) -> None:
        torch.set_float32_matmul_precision(self.before)


def slices(n: int, block: int) -> Iterator[slice]:
    """Yield the slices of `block` that make up `n`."""
    for start in range(0, n, block):
        yield slice(start, min(start + block, n))
