"""Deterministic sampling by Heun's second-order method (EDM, algorithm 1; paper D, algorithm 2)."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

SIGMA_MIN, SIGMA_MAX, RHO = 0.002, 80.0, 7.0


class Sampled(NamedTuple):
    """Images, and how often the denoiser was called for them."""

    images: Tensor
    evaluations: int


def noise_levels(
    steps: int, sigma_min: float = SIGMA_MIN, sigma_max: float = SIGMA_MAX, rho: float = RHO
) -> Tensor:
    """Return levels (steps + 1,), float64, from `sigma_max` down to `sigma_min` and then 0.

    Equation 5: evenly spaced in sigma^(1/rho), so that a larger rho has shorter steps at low noise.

    Raises:
        ValueError: no steps, or levels that are not 0 < sigma_min < sigma_max.
    """
    if steps < 1 or not 0 < sigma_min < sigma_max or rho <= 0:
        raise ValueError(
            f"noise levels: steps >= 1, 0 < sigma_min < sigma_max and rho > 0 are needed, not "
            f"{steps}, {sigma_min}, {sigma_max}, {rho}"
        )
    place = torch.arange(steps, dtype=torch.float64) / max(steps - 1, 1)
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    levels = (high + place * (low - high)) ** rho
    return torch.cat([levels, levels.new_zeros(1)])


def evaluations(steps: int) -> int:
    """Return the denoiser's calls for an image: two a step, and one in the last, to sigma 0."""
    return 2 * steps - 1


def heun(
    denoise: Callable[[Tensor, Tensor], Tensor],
    noise: Tensor,
    levels: Tensor,
    each: Callable[[], object] = lambda: None,
) -> Sampled:
    """Follow the probability-flow ODE dx / dsigma = (x - D(x; sigma)) / sigma down to sigma 0.

    Args:
        denoise: returns D of images (n, ...) at levels (n,), both float64.
        noise: (n, ...), of deviation 1: where the images come from, nothing else is random.
        levels: as of `noise_levels`.
        each: is called after each step.

    Returns:
        Images (n, ...), float64, not clipped.
    """
    called = 0

    def slope(x: Tensor, level: float) -> Tensor:
        nonlocal called
        called += 1
        return (x - denoise(x, x.new_full((len(x),), level))) / level

    # In double precision, as the paper samples: small differences are divided by small numbers.
    x = noise.double() * float(levels[0])
    for now, then in zip(levels[:-1].tolist(), levels[1:].tolist(), strict=True):
        first = slope(x, now)
        euler = x + (then - now) * first
        x = euler if then == 0 else x + (then - now) * (first + slope(euler, then)) / 2
        each()
    return Sampled(x, called)
