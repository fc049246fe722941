"""What a denoiser learns to predict, at which timesteps, and the scheduler that samples from it.

Timesteps run from 0, the image, to 1000, noise alone; x_t is what the denoiser sees at timestep t.
"""

from typing import Any, Protocol

import torch
from diffusers import DPMSolverMultistepScheduler
from torch import Generator, Tensor

from synthgap.diffusion.layers import TIMESTEPS


class Objective(Protocol):
    """What a kind of diffusion is trained on."""

    def draw(self, count: int, rng: Generator) -> Tensor:
        """Return timesteps (count,), float32."""

    def noisy(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return x_t, of the shape of `clean`."""

    def target(self, clean: Tensor, noise: Tensor) -> Tensor:
        """Return what is to be predicted, of the shape of `clean`."""

    def scheduler(self) -> Any:
        """Return the diffusers scheduler that samples from what was learnt."""


class Epsilon:
    """The noise is predicted (Ho et al. 2020), as paper B does.

    x_t = sqrt(g(t)) x + sqrt(1 - g(t)) noise, t uniform over the thousand timesteps (appendix E.1).
    The paper does not name g; its public code trains with the linear g(t) = 1 - t / T of Chen
    (2023, "On the importance of noise scheduling"). Here t is the middle of each of 1000 steps, so
    that neither end divides by zero and diffusers' schedulers see the very same levels.
    """

    def __init__(self) -> None:
        self.kept = 1 - (torch.arange(TIMESTEPS, dtype=torch.float64) + 0.5) / TIMESTEPS

    def draw(self, count: int, rng: Generator) -> Tensor:
        """Return whole timesteps from 0 to 999, each as likely."""
        return torch.randint(TIMESTEPS, (count,), generator=rng).float()

    def noisy(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Mix image and noise at whole timesteps."""
        kept = self.kept.to(timesteps.device)[timesteps.long()].view(-1, 1, 1, 1)
        return kept.sqrt().to(clean) * clean + (1 - kept).sqrt().to(clean) * noise

    def target(self, clean: Tensor, noise: Tensor) -> Tensor:
        """Return the noise."""
        return noise

    def scheduler(self) -> DPMSolverMultistepScheduler:
        """Return a second-order solver of the same schedule."""
        before = torch.cat([torch.ones(1, dtype=torch.float64), self.kept[:-1]])
        return DPMSolverMultistepScheduler(
            num_train_timesteps=TIMESTEPS,
            trained_betas=(1 - self.kept / before).tolist(),
            prediction_type="epsilon",
        )


class Flow:
    """The velocity, noise minus image, is predicted: rectified flow (Liu et al. 2023).

    x_t = (1 - t / T) x + t / T noise, t drawn from a logit-normal distribution (Esser et al. 2024,
    section 3.1).
    """

    def draw(self, count: int, rng: Generator) -> Tensor:
        """Return timesteps that are likelier in the middle."""
        return torch.randn(count, generator=rng).sigmoid() * TIMESTEPS

    def noisy(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Mix image and noise on a straight line."""
        share = (timesteps / TIMESTEPS).view(-1, 1, 1, 1).to(clean)
        return (1 - share) * clean + share * noise

    def target(self, clean: Tensor, noise: Tensor) -> Tensor:
        """Return the velocity."""
        return noise - clean

    def scheduler(self) -> DPMSolverMultistepScheduler:
        """Return a second-order solver of the flow: fewer steps than Euler's."""
        return DPMSolverMultistepScheduler(
            num_train_timesteps=TIMESTEPS,
            prediction_type="flow_prediction",
            use_flow_sigmas=True,
            flow_shift=1.0,
        )


OBJECTIVES: dict[str, type[Epsilon] | type[Flow]] = {"epsilon": Epsilon, "flow": Flow}
