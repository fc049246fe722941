"""How noisy a scheduler's samples are, and what its models predict."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from synthgap.errors import UserError

# By timesteps of the training's own schedule, and by sigmas.
OF_STEPS = ("DDPMScheduler", "DDIMScheduler", "PNDMScheduler")
OF_SIGMAS = ("DPMSolverMultistepScheduler", "FlowMatchEulerDiscreteScheduler")
EXPLODING = ("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler")
KNOWN = (*OF_STEPS, *OF_SIGMAS, *EXPLODING)


class Level(NamedTuple):
    """z = alpha * clean + sigma * noise, where z = scale * (the scheduler's sample)."""

    alpha: float
    sigma: float
    scale: float = 1.0


def kind_of(scheduler: Any) -> str:
    """Return `flow` (alpha = 1 - sigma) or `diffusion` (alpha^2 + sigma^2 = 1).

    Raises:
        UserError: another scheduler than those of `KNOWN`.
    """
    name = type(scheduler).__name__
    if name not in KNOWN:
        raise UserError(
            f"realism: {name} is not known; set the generator's `scheduler` to one of "
            f"{', '.join(KNOWN)}"
        )
    flow = name.startswith("FlowMatch") or getattr(scheduler.config, "use_flow_sigmas", False)
    return "flow" if flow else "diffusion"


def level_at(scheduler: Any, timestep: Any) -> Level:
    """Return how noisy the sample is that a scheduler's `step` gets at a timestep."""
    name, kind = type(scheduler).__name__, kind_of(scheduler)
    if name in OF_STEPS:
        kept = float(scheduler.alphas_cumprod[int(timestep)])
        return Level(kept**0.5, (1 - kept) ** 0.5)
    index = scheduler.step_index
    if index is None:  # before the first step
        index = scheduler.index_for_timestep(timestep)
    sigma = float(scheduler.sigmas[index])
    if kind == "flow":
        return Level(1 - sigma, sigma)
    alpha = (1 + sigma**2) ** -0.5
    # Euler's samples keep the image as it is and let the noise grow.
    return Level(alpha, sigma * alpha, alpha if name in EXPLODING else 1.0)


def draw_levels(scheduler: Any, count: int, rng: Generator) -> tuple[Tensor, Tensor]:
    """Return alphas and sigmas as the model was trained on: (count,) each.

    Flow matching: sigma uniform in 0..1. Diffusion: one of the training's steps, each as likely.
    """
    if kind_of(scheduler) == "flow":
        sigma = torch.rand(count, generator=rng)
        return 1 - sigma, sigma
    betas = torch.as_tensor(scheduler.betas, dtype=torch.float64)
    kept = torch.cumprod(1 - betas, 0)
    chosen = kept[torch.randint(len(kept), (count,), generator=rng)]
    return chosen.sqrt().float(), (1 - chosen).sqrt().float()


def change_of_output(scheduler: Any, level: Level) -> Callable[[Tensor], Tensor]:
    """Return what a change of the predicted noise makes of the model's output.

    With clean = (z - sigma * noise) / alpha, for the four things that models predict.

    Raises:
        UserError: the scheduler's model predicts something else.
    """
    predicts = getattr(scheduler.config, "prediction_type", "flow_prediction")
    if type(scheduler).__name__.startswith("FlowMatch"):
        predicts = "flow_prediction"
    if predicts == "epsilon":
        return lambda noise: noise
    if predicts == "sample":
        return lambda noise: noise * (-level.sigma / level.alpha)
    if predicts in ("v_prediction", "flow_prediction"):
        return lambda noise: noise / level.alpha
    raise UserError(f"realism: models that predict `{predicts}` are not known")
