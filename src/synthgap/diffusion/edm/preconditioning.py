"""Noise levels in training, and what turns a network into a denoiser (EDM, section 5 and table 1).

An image x is of deviation `sigma_data`; what the denoiser D sees is y = x + n, n of deviation
sigma. D(y; sigma) = c_skip y + c_out F(c_in y; c_noise), where F is the network.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor

# What a network computes of a scaled image (n, c, h, w) and its noise condition (n,).
Network = Callable[[Tensor, Tensor], Tensor]


class Coefficients(NamedTuple):
    """Of a denoiser at some noise levels, each of their shape."""

    skip: Tensor
    out: Tensor
    into: Tensor
    noise: Tensor


@dataclass(frozen=True)
class Preconditioning:
    """EDM's choices; the mean and deviation of ln sigma are table 1's P_mean and P_std.

    Attributes:
        sigma_data: deviation of the images' values, which lie in -1..1.
    """

    sigma_data: float = 0.5
    log_mean: float = -1.2
    log_deviation: float = 1.2

    def coefficients(self, sigma: Tensor) -> Coefficients:
        """Return c_skip, c_out, c_in and c_noise (table 1, right column)."""
        both = sigma.square() + self.sigma_data**2
        return Coefficients(
            self.sigma_data**2 / both,
            sigma * self.sigma_data / both.sqrt(),
            both.rsqrt(),
            sigma.log() / 4,
        )

    def weight(self, sigma: Tensor) -> Tensor:
        """Return lambda(sigma) = 1 / c_out^2, which makes all levels' losses alike at the start."""
        return (sigma.square() + self.sigma_data**2) / (sigma * self.sigma_data).square()

    def draw(self, count: int, rng: Generator) -> Tensor:
        """Return noise levels (count,): their logarithms are normally distributed."""
        return (torch.randn(count, generator=rng) * self.log_deviation + self.log_mean).exp()

    def denoise(self, network: Network, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Return D(noisy; sigma) in the precision of `noisy`; the network computes in float32.

        Args:
            noisy: (n, channels, height, width).
            sigma: (n,), above 0.
        """
        at = self.coefficients(sigma.to(noisy.dtype))
        skip, out, into = (part.view(-1, 1, 1, 1) for part in at[:3])
        found = network((into * noisy).float(), at.noise.float())
        return skip * noisy + out * found.to(noisy.dtype)

    def loss(self, network: Network, clean: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        """Return lambda(sigma) |D(clean + sigma noise; sigma) - clean|^2, mean over all values.

        EDM sums over an image's values; the mean differs by a factor, which Adam does not see.

        Args:
            clean, noise: (n, channels, height, width), noise of deviation 1.
            sigma: (n,).
        """
        found = self.denoise(network, clean + sigma.view(-1, 1, 1, 1) * noise, sigma)
        weighted: Tensor = self.weight(sigma).view(-1, 1, 1, 1) * (found - clean).square()
        return weighted.mean()
