"""Precision, recall, density and coverage from nearest neighbours, exactly and in bounded memory.

Source: Naeem et al., Reliable Fidelity and Diversity Metrics for Generative Models (ICML 2020),
and its reference implementation, the package `prdc`. Precision and recall are those of
Kynkäänniemi et al. (NeurIPS 2019). Paper A, section 3.3 and figure 5, uses density and coverage.

A ball lies around each point; its radius is the distance to the k-th nearest other point of the
same set. Another point is inside when its distance is strictly smaller.

Exactness. Float32 products bound all distances (`synthgap.metrics.distances`); what the bounds
leave open, a few pairs in a million, is decided by the plain sum of squared differences in
float64. Results hence depend neither on tiles nor on the device or the linear algebra library.

Features in float32 on both sides are compared as the reference package does it: the squared
distance is rounded to float32, and so is its root. Distances that float32 cannot tell apart are
equal then, and not inside. All other types are compared in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synthgap.errors import UserError
from synthgap.metrics.distances import (
    Bools,
    Distance,
    Floats,
    Indices,
    Points,
    Side,
    Tiles,
    U,
    above,
    slices,
    squared,
)
from synthgap.metrics.intervals import bootstrap_mean
from synthgap.metrics.measures import Measure

# Candidates kept beyond the k nearest, so that near ties seldom need a second look.
_SPARE = 8
# Rows and columns of a tile: 16 MB on a CPU, 1 GB on a GPU.
_BLOCK = {"cpu": 2048, "cuda": 16384}
# More open pairs than that in a tile are first bounded in float64.
_MANY = 2**15
# Where more than this share of a tile's chunks hold pairs inside, they are not listed.
_CROWDED = 1 / 16


@dataclass(frozen=True)
class PRDC:
    """The four metrics item by item: n real points, m generated ("fake") points."""

    k: int
    fake_in_real: NDArray[np.int64]
    """(m,) in how many real balls each fake point lies, 0..n"""
    fake_is_precise: Bools
    """(m,) whether it lies in any real ball"""
    real_is_recalled: Bools
    """(n,) whether the real point lies in any fake ball"""
    real_is_covered: Bools
    """(n,) whether any fake point lies in the real point's own ball"""

    @property
    def precision(self) -> float:
        """Share of fake points in the real manifold, 0..1."""
        return float(self.fake_is_precise.mean())

    @property
    def recall(self) -> float:
        """Share of real points in the fake manifold, 0..1."""
        return float(self.real_is_recalled.mean())

    @property
    def density(self) -> float:
        """Mean number of real balls around a fake point, divided by k; can exceed 1."""
        return float(self.fake_in_real.mean() / self.k)

    @property
    def coverage(self) -> float:
        """Share of real points with a fake point in their ball, 0..1."""
        return float(self.real_is_covered.mean())


def prdc(
    real: NDArray[Any] | Points,
    fake: NDArray[Any] | Points,
    *,
    k: int = 5,
    distance: Distance = "euclidean",
    real_radii: Floats | None = None,
    block: int | None = None,
    device: str = "cpu",
) -> PRDC:
    """Precision, recall, density and coverage of `fake` with respect to `real`.

    Memory: a few tiles of (block, block), 200 bytes a point, and on a CPU up to 200 MB a set that
    is kept packed; features that lie in a file (`numpy.memmap`) stay there. Time: the two matrix
    products of n m d and (n^2 + m^2) d / 2.

    Args:
        real: (n, d) features of real images, any numeric type.
        fake: (m, d) features of generated images.
        k: which neighbour sets the radius, not counting the point itself; the field uses 5.
        distance: "cosine" is 1 - cos; it orders pairs as the Euclidean distance between rows of
            unit length does, which is how it is computed. Paper A's public code uses it.
        real_radii: of `squared_radii` for the same `real`, `k` and `distance`, to save its time.
        block: rows per tile; changes memory and speed, never the result.
        device: torch's, for the products.

    Raises:
        UserError: k or block below 1, an unknown distance, a set with k rows or fewer, different
            widths, values that are not finite (or too large to square), a zero row under "cosine".

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> real = rng.normal(size=(200, 8))
        >>> same = prdc(real, rng.normal(size=(200, 8)))
        >>> round(same.density, 2), round(same.coverage, 2)
        (0.97, 0.94)
        >>> few = prdc(real, np.repeat(rng.normal(size=(10, 8)), 20, axis=0))  # ten, repeated
        >>> round(few.density, 2), round(few.coverage, 3)
        (1.26, 0.265)
    """
    real, fake = _points("real", real, k, distance), _points("generated", fake, k, distance)
    if real.width != fake.width:
        raise UserError(
            f"prdc: real features have {real.width} columns and generated {fake.width}; "
            "both must come from the same encoder"
        )
    if real_radii is None:
        real_radii = squared_radii(real, k=k, distance=distance, block=block, device=device)
    elif real_radii.shape != (len(real),):
        raise UserError(f"prdc: {len(real)} real rows and radii of shape {real_radii.shape}")
    fake_radii = squared_radii(fake, k=k, distance=distance, block=block, device=device)

    fake_in_real = np.zeros(len(fake), dtype=np.int64)
    recalled = np.zeros(len(real), dtype=np.bool_)
    covered = np.zeros(len(real), dtype=np.bool_)
    tiles = Tiles(real, fake, device)
    block = _block(block, device)
    for rows in slices(len(real), block):
        for columns in slices(len(fake), block):
            tile = _Tile(real, fake, tiles, rows, columns)
            within, counts = tile.inside(real_radii, "row")
            covered[rows] |= within
            fake_in_real[columns] += counts
            recalled[rows] |= tile.inside(fake_radii, "column")[0]
    return PRDC(k, fake_in_real, fake_in_real > 0, recalled, covered)


def squared_radii(
    points: NDArray[Any] | Points,
    *,
    k: int = 5,
    distance: Distance = "euclidean",
    block: int | None = None,
    device: str = "cpu",
) -> Floats:
    """(n,) squared distance of each point to its k-th nearest other point, in float64.

    Arguments and errors are those of `prdc`.
    """
    points = _points("real", points, k, distance)
    block = _block(block, device)
    keep = min(len(points) - 1, k + _SPARE)
    tiles = Tiles(points, points, device)
    values, others = (found.cpu().numpy() for found in _nearest(tiles, len(points), keep, block))
    radii = np.empty(len(points))
    open_rows = []
    for rows in slices(len(points), block):
        index = np.arange(rows.start, rows.stop)
        radii[rows] = _kth(points, tiles, index, others[rows].astype(np.int64), values[rows], k)
        # What was left out lies at or beyond the last that was kept.
        least, _ = tiles.limits(index, index, values[rows].min(axis=1))
        proven = (radii[rows] <= least) | (radii[rows] == 0) | (keep == len(points) - 1)
        open_rows.append(index[~proven])
    rest = np.concatenate(open_rows)
    for part in slices(len(rest), 512):
        radii[rest[part]] = _radii_in_double(points, rest[part], k)
    return radii


def measure_prdc(
    result: PRDC, distance: Distance, *, resamples: int = 2000, seed: int = 0
) -> list[Measure]:
    """The four metrics with 95 % intervals, named with their variant: `density_k5_euclidean`.

    Each is a mean over the items of one set (density and precision: generated; recall and
    coverage: real), and its interval is the percentile bootstrap of these per-item values, with
    all balls and the other set held fixed. Resampling both sets and searching neighbours anew
    would be biased: a bootstrap sample repeats about 37 % of its points at distance zero, so
    k-th-neighbour radii shrink and every metric falls, by more than its own spread. The interval
    hence speaks of the items averaged over, not of another draw of the set held fixed.
    """
    items: dict[str, NDArray[Any]] = {
        "density": result.fake_in_real / result.k,
        "coverage": result.real_is_covered,
        "precision": result.fake_is_precise,
        "recall": result.real_is_recalled,
    }
    found = []
    for name, values in items.items():
        value, low, high = bootstrap_mean(values, resamples=resamples, seed=seed)
        variant = f"{name}_k{result.k}_{distance}"
        found.append(Measure(variant, value, len(values), low, high, name=name))
    return found


def _points(name: str, values: NDArray[Any] | Points, k: int, distance: Distance) -> Points:
    if k < 1:
        raise UserError(f"prdc: k must be at least 1: k={k}")
    points = values if isinstance(values, Points) else Points(name, values, distance)
    if points.distance != distance:
        raise UserError(f"prdc: {name} points of the distance {points.distance}, not {distance}")
    if len(points) <= k:
        raise UserError(f"prdc: k={k} needs at least {k + 1} {name} rows, got {len(points)}")
    return points


def _block(block: int | None, device: str) -> int:
    if block is None:
        return _BLOCK.get(torch.device(device).type, _BLOCK["cpu"])
    if block < 1:
        raise UserError(f"prdc: block must be at least 1: block={block}")
    return block


def _nearest(tiles: Tiles, n: int, keep: int, block: int) -> tuple[Tensor, Tensor]:
    """(n, keep) the largest V of each point with the others, and these others' rows.

    V of a pair serves both of its points, so half of the tiles are enough. The tiles on the
    diagonal come first: after them, few values of another tile are among the largest.
    """
    best = torch.full((n, keep), -torch.inf, dtype=torch.float32, device=tiles.device)
    others = torch.zeros((n, keep), dtype=torch.int32, device=tiles.device)
    blocks = list(slices(n, block))
    for rows in blocks:
        values = tiles.upper(rows, rows).fill_diagonal_(-torch.inf)
        top = values.topk(min(keep, len(values)), dim=1)
        best[rows, : top.values.shape[1]] = top.values
        others[rows, : top.values.shape[1]] = top.indices.int() + rows.start
    for at, rows in enumerate(blocks):
        for columns in blocks[at + 1 :]:
            values = tiles.upper(rows, columns)
            if found := above(values, best[rows].amin(1), "row"):
                i, j, v = found
                _keep_largest(best, others, i + rows.start, j + columns.start, v)
            if found := above(values, best[columns].amin(1), "column"):
                i, j, v = found
                _keep_largest(best, others, j + columns.start, i + rows.start, v)
    return best, others


def _keep_largest(best: Tensor, others: Tensor, points: Tensor, new: Tensor, v: Tensor) -> None:
    """Put pairs of `points` and `new` with their values `v` among the best of `points`."""
    if not len(points):
        return
    order = points.argsort(stable=True)
    points, new, v = points[order], new[order], v[order]
    touched, line, counts = points.unique_consecutive(return_inverse=True, return_counts=True)
    place = torch.arange(len(points), device=v.device) - (counts.cumsum(0) - counts)[line]
    shape = (len(touched), int(counts.max()))
    values = torch.full(shape, -torch.inf, dtype=torch.float32, device=v.device)
    values[line, place] = v
    rows = torch.zeros(values.shape, dtype=torch.int32, device=v.device)
    rows[line, place] = new.int()
    values = torch.cat([best[touched], values], 1)
    top = values.topk(best.shape[1], dim=1)
    best[touched] = top.values
    others[touched] = torch.cat([others[touched], rows], 1).gather(1, top.indices)


def _kth(
    points: Points,
    tiles: Tiles,
    index: Indices,
    others: Indices,
    values: NDArray[np.float32],
    k: int,
) -> Floats:
    """(len(index),) the k-th smallest squared distance of rows to their candidates, exactly.

    Bounds leave open but few candidates, mostly one: only they are computed.
    """
    candidates = np.broadcast_to(index[:, None], others.shape)
    lower, upper = tiles.limits(candidates, others, values)
    lowest = np.partition(lower, k - 1, axis=1)[:, k - 1 : k]
    highest = np.partition(upper, k - 1, axis=1)[:, k - 1 : k]
    found = np.where(upper < lowest, -np.inf, np.inf)
    i, j = np.nonzero((upper >= lowest) & (lower <= highest))
    found[i, j] = squared(points, index[i], points, others[i, j])
    kth: Floats = np.partition(found, k - 1, axis=1)[:, k - 1]
    return kth


def _radii_in_double(points: Points, index: Indices, k: int) -> Floats:
    """(len(index),) the same, for rows whose neighbours float32 cannot order; reads all points."""
    rows = points.rows(index)
    keep = min(len(points), k + 1 + 4 * _SPARE)
    best = np.full((len(index), keep), np.inf)
    others = np.zeros((len(index), keep), dtype=np.int64)
    for columns in slices(len(points), _BLOCK["cpu"]):
        lower, _ = _double_bounds(rows, points.rows(columns), points.mean)
        here = np.broadcast_to(np.arange(columns.start, columns.stop), lower.shape)
        best, others = np.hstack([best, lower]), np.hstack([others, here])
        pick = np.argpartition(best, keep - 1, axis=1)[:, :keep]
        best = np.take_along_axis(best, pick, axis=1)
        others = np.take_along_axis(others, pick, axis=1)
    exact = squared(points, np.repeat(index, keep), points, others.ravel()).reshape(best.shape)
    exact[np.isinf(best)] = np.inf
    kth = np.partition(exact, k, axis=1)[:, k]  # the first is the point itself
    for at in np.flatnonzero((kth > best.max(axis=1)) & (kth > 0) & (keep < len(points))):
        every = [
            np.square(rows[at] - points.rows(columns)).sum(axis=-1)
            for columns in slices(len(points), _BLOCK["cpu"])
        ]
        kth[at] = np.partition(np.concatenate(every), k)[k]
    return kth


class _Tile:
    """Some real points against some fake ones."""

    def __init__(
        self, real: Points, fake: Points, tiles: Tiles, rows: slice, columns: slice
    ) -> None:
        self.real, self.fake, self.tiles, self.rows, self.columns = real, fake, tiles, rows, columns
        self.values = tiles.upper(rows, columns)
        self.halves = tiles.left.halves[rows], tiles.right.halves[columns]
        # The reference package's types.
        self.single = real.values.dtype == fake.values.dtype == np.float32
        self.single &= real.distance == "euclidean"

    def inside(self, radii: Floats, by: Side) -> tuple[Bools, Indices]:
        """For each row whether, for each column how often, a pair lies in the ball of one side.

        Args:
            radii: squared, of all points of that side: "row" for real balls.
        """
        radii = radii[self.rows if by == "row" else self.columns]
        found = above(self.values, self.tiles.least(radii), by, most=_CROWDED)
        if found is None:
            within, counts, found = self._inside_crowded(radii, by)
        else:
            within = np.zeros(self.values.shape[0], dtype=np.bool_)
            counts = np.zeros(self.values.shape[1], dtype=np.int64)
        i, j, v = (part.cpu().numpy() for part in found)
        if len(i):
            inside = self._decide(i, j, v, radii[i if by == "row" else j])
            within[i[inside]] = True
            counts += np.bincount(j[inside], minlength=len(counts))
        return within, counts

    def _inside_crowded(self, radii: Floats, by: Side) -> tuple[Bools, Indices, tuple[Tensor, ...]]:
        """The pairs that are inside for sure, counted, and those that are open."""
        halves = self.halves if by == "row" else self.halves[::-1]
        apart = np.where(self._tells_apart(radii), radii, np.inf)
        enough, least = self.tiles.enough(apart, *halves), self.tiles.least(radii)
        along = 1 if by == "row" else 0
        sure = self.values > enough.unsqueeze(along)
        open_pairs = ((self.values > least.unsqueeze(along)) & ~sure).nonzero(as_tuple=True)
        counts = sure.float().sum(0).long().cpu().numpy()
        return sure.any(1).cpu().numpy(), counts, (*open_pairs, self.values[open_pairs])

    def _decide(self, i: Indices, j: Indices, v: NDArray[np.float32], radii: Floats) -> Bools:
        """(len(i),) whether pairs of the tile are nearer than their squared radii."""
        rows, columns = i + self.rows.start, j + self.columns.start
        _, upper = self.tiles.limits(rows, columns, v)
        # Strictly below by more than rounding to float32 can hide.
        apart = self._tells_apart(radii)
        sure: Bools = (upper * (1 + 16 * U) < radii) & apart
        rest = np.flatnonzero(~sure)
        for part in slices(self.values.shape[0], _BLOCK["cpu"]) if len(rest) > _MANY else ():
            here = rest[(i[rest] >= part.start) & (i[rest] < part.stop)]
            some = slice(self.rows.start + part.start, self.rows.start + part.stop)
            real, fake = self.real.rows(some), self.fake.rows(self.columns)
            lower, upper = _double_bounds(real, fake, self.real.mean)
            place = i[here] - part.start, j[here]
            sure[here] = (upper[place] * (1 + 16 * U) < radii[here]) & apart[here]
            decided = here[sure[here] | (lower[place] >= radii[here])]
            rest = np.setdiff1d(rest, decided, assume_unique=True)
        between = squared(self.real, rows[rest], self.fake, columns[rest])
        sure[rest] = _distance(between, self.single) < _distance(radii[rest], self.single)
        return sure

    def _tells_apart(self, radii: Floats) -> Bools:
        """Where float32, if it is what compares, keeps its relative precision of squares."""
        if not self.single:
            return np.ones(len(radii), dtype=np.bool_)
        return (radii > 2.0**-120) & (radii < 2.0**127)


def _distance(squares: Floats, single: bool) -> NDArray[Any]:
    """What is compared, see the module's text."""
    with np.errstate(over="ignore"):
        return np.sqrt(squares.astype(np.float32)) if single else squares


def _double_bounds(a: Floats, b: Floats, centre: Floats) -> tuple[Floats, Floats]:
    """Lower and upper bounds, each (len(a), len(b)), of the squared distances of rows.

    A dot product of d terms in any order errs by at most d eps / 2 of the sum of its terms'
    magnitudes. The factor below is twice what this, the centring and the rounding of `squared`
    itself add up to.
    """
    a, b = a - centre, b - centre
    scale = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1)[None, :]
    middle = scale - 2 * (a @ b.T)
    scale *= 4 * (a.shape[1] + 8) * np.finfo(np.float64).eps
    return middle - scale, middle + scale
