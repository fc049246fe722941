"""A small variational autoencoder: images to the latents that the diffusion model learns."""

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray

from synthgap import stopping
from synthgap.checkpoint import Checkpoint, require_finite
from synthgap.diffusion.encoding import to_tensor
from synthgap.errors import UserError
from synthgap.progress import Progress
from synthgap.seeds import derive_seed

KL_WEIGHT = 1e-4


def build_autoencoder(image_size: int, channels: list[int], latent_channels: int) -> AutoencoderKL:
    """Return an untrained AutoencoderKL that shrinks each side by 2**(len(channels) - 1)."""
    levels = len(channels)
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=latent_channels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=tuple(channels),
        layers_per_block=1,
        norm_num_groups=min(8, min(channels)),
        mid_block_add_attention=False,
        sample_size=image_size,
    )


def train_autoencoder(
    vae: AutoencoderKL,
    images: NDArray[np.uint8],
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    checkpoint: Checkpoint,
) -> None:
    """Train in place by squared error and a small KL term, then set the latents' scale to 1.

    Args:
        images: (n, height, width, 3).

    Raises:
        UserError: the loss is no number.
    """
    optimizer = torch.optim.AdamW(vae.parameters(), lr=learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
    first = 0
    if state := checkpoint.load():
        first = state["step"]
        vae.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
    vae.train()
    with Progress(steps, "autoencoder steps", done=first) as progress, stopping.deferred():
        for step in range(first, steps):
            # All chance of a step comes from its number, so a resumed run repeats it exactly.
            rng = torch.Generator().manual_seed(derive_seed(seed, "autoencoder", step))
            chosen = torch.randint(len(images), (batch_size,), generator=rng)
            batch = to_tensor(images[chosen.numpy()])
            posterior = vae.encode(batch).latent_dist
            decoded = vae.decode(posterior.sample(generator=rng)).sample
            error = (decoded - batch).square().mean()
            loss = error + KL_WEIGHT * posterior.kl().mean() / posterior.mean[0].numel()
            if not loss.isfinite():
                raise UserError(
                    f"the autoencoder's loss is {loss.item()} after {step} steps; a smaller "
                    "learning_rate may help"
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            progress.update(note=f"error {error.item():.4f}")
            if checkpoint.due():
                checkpoint.save(
                    {
                        "step": step + 1,
                        "model": vae.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "schedule": schedule.state_dict(),
                    }
                )
    require_finite(vae.state_dict())
    vae.eval()
    vae.register_to_config(scaling_factor=1 / _deviation(vae, images))


@torch.no_grad()
def _deviation(vae: AutoencoderKL, images: NDArray[np.uint8], batch_size: int = 64) -> float:
    """Return the standard deviation of all values of latents drawn for the images."""
    starts = range(0, len(images), batch_size)
    parts = (to_tensor(images[start : start + batch_size]) for start in starts)
    found = [vae.encode(part).latent_dist for part in parts]
    between = torch.cat([posterior.mean for posterior in found]).var()
    within = torch.cat([posterior.var for posterior in found]).mean()
    return (between + within).sqrt().item()
