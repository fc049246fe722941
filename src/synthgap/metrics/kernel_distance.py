"""Kernel distance (KID): the unbiased squared MMD under the kernel (x.y / d + 1)^3.

Source: Bińkowski et al., Demystifying MMD GANs (ICLR 2018), section 4. Its customary estimate is
the mean over random subsets of 1 000 images (`kid_subsets`, as torch-fidelity has it). Here it is
also computed from all pairs at once, which has no noise of drawing and is exact at any size.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from synthgap.errors import UserError
from synthgap.metrics.distances import Floats, slices
from synthgap.metrics.frechet import GROUPS, random_groups
from synthgap.metrics.intervals import jackknife
from synthgap.metrics.measures import Measure

_BLOCK = 2048


def mean_kernel(values: NDArray[Any], *, device: str = "cpu") -> float:
    """The kernel's mean over all pairs of different rows of (n, d) features.

    Raises:
        UserError: fewer than two rows, or values that are not finite or too large to cube.
    """
    n = len(values)
    if n < 2:
        raise UserError(f"kernel distance: 2 rows or more are needed, got {n}")
    total = float(_sums_within(values, np.zeros(n, dtype=np.int64), device).sum())
    if not np.isfinite(total):
        raise UserError("kernel distance: features are not finite, or too large to cube")
    return total / (n * (n - 1))


def measure_kernel_distance(
    real: NDArray[Any],
    fake: NDArray[Any],
    *,
    name: str = "kid",
    real_kernel: float | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> Measure:
    """KID from all pairs, with a 95 % interval; it can be negative, as it is unbiased.

    The interval is a jackknife over ten random groups of generated images; the real images are
    held fixed. Time: n m d + (n^2 + m^2) d / 2 products in float64.

    Args:
        real, fake: (n, d) and (m, d) features, in memory or mapped from a file.
        name: `kid` for Inception's features, `kd` for others.
        real_kernel: `mean_kernel(real)`, to save its time.

    Raises:
        UserError: fewer than two rows, or 20 generated ones; other widths; values not finite.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> real, fake = rng.normal(size=(300, 4)), rng.normal(1, size=(300, 4))
        >>> found = measure_kernel_distance(real, fake, name="kd")
        >>> found.metric, bool(found.low > 0)
        ('kd_all_pairs', True)
    """
    require_pairs(name, len(real), len(fake))
    if real.shape[1] != fake.shape[1]:
        raise UserError(
            f"{name}: real features have {real.shape[1]} columns and generated {fake.shape[1]}; "
            "both must come from the same encoder"
        )
    if real_kernel is None:
        real_kernel = mean_kernel(real, device=device)
    groups = random_groups(len(fake), seed)
    within = _sums_within(fake, groups, device)
    between = _sums_between(real, fake, groups, device)
    sizes = np.bincount(groups, minlength=GROUPS)

    def distance(n: int, inside: float, across: float) -> float:
        return real_kernel + inside / (n * (n - 1)) - 2 * across / (n * len(real))

    value = distance(len(fake), within.sum(), between.sum())
    left_out = [
        distance(
            len(fake) - sizes[g],
            within.sum() - 2 * within[g].sum() + within[g, g],
            between.sum() - between[g],
        )
        for g in range(GROUPS)
    ]
    if not np.isfinite(value):
        raise UserError(f"{name}: features are not finite, or too large to cube")
    interval = jackknife(value, left_out)
    return Measure(f"{name}_all_pairs", value, len(fake), interval.low, interval.high, name=name)


def require_pairs(name: str, n_real: int, n_fake: int) -> None:
    """Raise UserError where there are too few images for the metric and its interval."""
    if n_real < 2 or n_fake < 2 * GROUPS:
        raise UserError(
            f"{name}: 2 real and {2 * GROUPS} generated rows are needed, got {n_real} and {n_fake}"
        )


def kid_subsets(
    real: NDArray[Any],
    fake: NDArray[Any],
    *,
    subsets: int = 100,
    size: int = 1000,
    seed: int = 2020,
) -> tuple[float, float]:
    """KID's mean and standard deviation over random subsets, as torch-fidelity draws them.

    The deviation is that of a subset, and no error of the mean: subsets overlap.

    Raises:
        UserError: a set is smaller than a subset.
    """
    if min(len(real), len(fake)) < size:
        raise UserError(
            f"kid: subsets of {size} from {len(real)} real and {len(fake)} generated rows"
        )
    rng = np.random.RandomState(seed)
    found = []
    for _ in range(subsets):
        a = real[rng.choice(len(real), size, replace=False)].astype(np.float64)
        b = fake[rng.choice(len(fake), size, replace=False)].astype(np.float64)
        alike = _kernel(a, a).sum() + _kernel(b, b).sum() - _diagonal(a).sum() - _diagonal(b).sum()
        found.append(alike / (size * (size - 1)) - 2 * _kernel(a, b).mean())
    return float(np.mean(found)), float(np.std(found))


def _sums_within(values: NDArray[Any], groups: NDArray[np.int64], device: str) -> Floats:
    """(groups, groups) sums of the kernel over ordered pairs of different rows."""
    count = int(groups.max()) + 1
    sums = np.zeros((count, count))
    blocks = list(slices(len(values), _BLOCK))
    for at, rows in enumerate(blocks):
        a, left = values[rows].astype(np.float64), _one_hot(groups[rows], count)
        for columns in blocks[at:]:
            b, right = values[columns].astype(np.float64), _one_hot(groups[columns], count)
            with np.errstate(over="ignore", invalid="ignore"):
                part = left.T @ _kernel(a, b, device) @ right
                if rows == columns:
                    sums += part - left.T @ (_diagonal(a)[:, None] * left)
                else:
                    sums += part + part.T
    return sums


def _sums_between(
    real: NDArray[Any], fake: NDArray[Any], groups: NDArray[np.int64], device: str
) -> Floats:
    """(groups,) sums of the kernel over pairs of a real and a generated row."""
    sums = np.zeros(int(groups.max()) + 1)
    for rows in slices(len(real), _BLOCK):
        a = real[rows].astype(np.float64)
        for columns in slices(len(fake), _BLOCK):
            totals = _kernel(a, fake[columns].astype(np.float64), device).sum(axis=0)
            sums += np.bincount(groups[columns], weights=totals, minlength=len(sums))
    return sums


def _kernel(a: Floats, b: Floats, device: str = "cpu") -> Floats:
    """(len(a), len(b)) (a.b / d + 1)^3 in float64."""
    first, second = (torch.from_numpy(rows).to(device) for rows in (a, b))
    products = (first @ second.T).mul_(1 / a.shape[1]).add_(1)
    kernel: Floats = (products * products).mul_(products).cpu().numpy()
    return kernel


def _diagonal(a: Floats) -> Floats:
    """(len(a),) the kernel of each row with itself."""
    with np.errstate(over="ignore", invalid="ignore"):
        kernel: Floats = (np.square(a).sum(axis=1) / a.shape[1] + 1) ** 3
    return kernel


def _one_hot(groups: NDArray[np.int64], count: int) -> Floats:
    found: Floats = np.eye(count)[groups]
    return found
