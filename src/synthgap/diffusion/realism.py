"""Realism guidance: a classifier of noised images, real or generated, steers a sampler (paper C).

Source: paper C, section 6.3, after the classifier guidance of Dhariwal and Nichol (2021). The score
of the guided model is its own plus `scale` times the gradient of the log-probability of `real`.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from synthgap.atomic import atomic_path
from synthgap.classifiers.architectures import REFUSALS, build
from synthgap.diffusion.noise import change_of_output, kind_of, level_at
from synthgap.errors import UserError

CLASSES = ["real", "generated"]
# With less of the image in a sample than this share, there is nothing to tell it by, and what is
# divided by it grows without bounds.
LEAST_ALPHA = 0.02


@dataclass(frozen=True)
class About:
    """What a noised classifier's file tells besides its weights."""

    architecture: dict[str, Any]
    channels: int
    """of what it sees: of latents, or 3"""
    side: int
    kind: str
    """`flow` or `diffusion`, see `synthgap.diffusion.noise`"""


def build_noised(about: About) -> nn.Module:
    """Return a network that sees samples and their noise level, (n, channels + 1, side, side).

    The level, sigma, is one more channel: ADM's classifiers are told the timestep, and any network
    of timm can be told in this way. With random weights.
    """
    options = dict(about.architecture.get("options") or {})
    spec = about.architecture | {"options": options | {"in_chans": about.channels + 1}}
    return build(spec, len(CLASSES))


def require_fits(model: nn.Module, about: About) -> None:
    """Check that a network takes what it is to see, by one forward pass on the CPU.

    Raises:
        UserError: it does not: vision transformers have one size, deep networks a least one.
    """
    model.eval()
    try:
        with torch.inference_mode():
            model(torch.zeros(1, about.channels + 1, about.side, about.side))
    except REFUSALS as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"realism.architecture: {about.architecture.get('name')} cannot see samples of "
            f"{about.side} x {about.side} ({reason}); set its options, or name another"
        ) from error


def with_level(samples: Tensor, sigma: Tensor) -> Tensor:
    """Return samples (n, c, h, w) with their levels (n,) as one more channel."""
    plane = sigma.to(samples).view(-1, 1, 1, 1).expand(-1, 1, *samples.shape[2:])
    return torch.cat([samples, plane], 1)


def save(model: nn.Module, about: About, path: Path) -> None:
    """Write the weights atomically, with `about` in the file's metadata."""
    weights = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
    with atomic_path(path) as part:
        save_file(weights, part, {"synthgap": json.dumps(asdict(about), sort_keys=True)})


def load(path: Path) -> tuple[nn.Module, About]:
    """Return a saved classifier in evaluation mode on the CPU.

    Raises:
        UserError: the file was not written by `save`.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = About(**json.loads((file.metadata() or {})["synthgap"]))
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        model = build_noised(about)
        model.load_state_dict(weights)
    except (SafetensorError, KeyError, TypeError, RuntimeError, OSError) as error:
        raise UserError(
            f"{path} is no classifier of noised images ({error}); make it with train_realism"
        ) from error
    return model.eval(), about


def steer(pipeline: Any, path: Path, scale: float, device: str) -> None:
    """Make a pipeline's sampler follow the classifier in a file.

    What the pipeline's scheduler is told to be the model's output changes by what `scale` times the
    gradient of log p(real) comes to. With scale 0 nothing changes, not even rounding.

    Raises:
        UserError: the scheduler is not known, or the classifier is of another kind of noise.
    """
    if not scale:
        return
    scheduler = pipeline.scheduler
    model, about = load(path)
    if about.kind != (kind := kind_of(scheduler)):
        raise UserError(
            f"{path} knows the noise of {about.kind} models, and {type(scheduler).__name__} makes "
            f"that of {kind}; train it with the generator's own scheduler"
        )
    model.to(device).requires_grad_(False)
    plain = scheduler.step

    # Pipelines look at the signature of `step`.
    @wraps(plain)
    def step(model_output: Tensor, timestep: Any, sample: Tensor, *rest: Any, **more: Any) -> Any:
        if sample.shape[1:] != (about.channels, about.side, about.side):
            raise UserError(
                f"realism: samples are {tuple(sample.shape[1:])}, and the classifier was trained "
                f"on {(about.channels, about.side, about.side)}; pipelines that pack their latents "
                "cannot be steered"
            )
        level = level_at(scheduler, timestep)
        if level.alpha >= LEAST_ALPHA:
            gradient = gradient_of_real(model, sample.float() * level.scale, level.sigma)
            change = change_of_output(scheduler, level)(-scale * level.sigma * gradient)
            # Models that learn a variance, too, have it behind what they predict.
            predicted, rest_of_it = model_output.split(
                [about.channels, model_output.shape[1] - about.channels], 1
            )
            model_output = torch.cat([predicted + change.to(predicted), rest_of_it], 1)
        return plain(model_output, timestep, sample, *rest, **more)

    scheduler.step = step


def gradient_of_real(model: nn.Module, samples: Tensor, sigma: float) -> Tensor:
    """Return the gradient of each sample's log p(real) by itself, of the samples' shape."""
    with torch.enable_grad():
        inputs = samples.detach().requires_grad_()
        levels = torch.full((len(samples),), sigma, device=samples.device)
        logits = model(with_level(inputs, levels))
        real = logits.log_softmax(1)[:, CLASSES.index("real")].sum()
        (gradient,) = torch.autograd.grad(real, inputs)
    return gradient


def about_of(architecture: Mapping[str, Any], latents: Tensor | Any, scheduler: Any) -> About:
    """Return what a classifier of such latents (n, c, s, s) is."""
    _, channels, side, _ = latents.shape
    return About(dict(architecture), int(channels), int(side), kind_of(scheduler))
