"""Train a classifier of noised images: latents once and for all, noise anew in each epoch."""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from synthgap import checksums
from synthgap.atomic import atomic_path
from synthgap.classifiers.batches import Batch
from synthgap.classifiers.recipe import Recipe
from synthgap.data.decoded import EncodedImages
from synthgap.data.shards import Manifest
from synthgap.diffusion.noise import draw_levels
from synthgap.diffusion.realism import with_level
from synthgap.errors import UserError
from synthgap.progress import Progress
from synthgap.seeds import derive_seed

# Images that are encoded at once.
AT_ONCE = 16
# Levels at which each validation image is looked at.
VAL_LEVELS = 4


def load_parts(folder: Path, scheduler: str | None) -> tuple[Any, Any]:
    """Return a pipeline's autoencoder (None where it has none) and its scheduler.

    Args:
        scheduler: class that stands in for the pipeline's own.

    Raises:
        UserError: the folder holds no pipeline, or an autoencoder that is not known.
    """
    try:
        index = json.loads((folder / "model_index.json").read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} is no diffusers pipeline: {error}") from error
    name = (index.get("vae") or [None, None])[1]
    if name not in (None, "AutoencoderKL"):
        raise UserError(f"{folder}: realism guidance knows AutoencoderKL, not {name}")
    own = getattr(diffusers, index["scheduler"][1]).from_pretrained(folder / "scheduler")
    if scheduler:
        own = getattr(diffusers, scheduler).from_config(own.config)
    vae = name and diffusers.AutoencoderKL.from_pretrained(folder / "vae", use_safetensors=True)
    return vae, own


def encode(
    manifests: Sequence[Manifest],
    count: int,
    side: int,
    vae: Any,
    device: torch.device,
    cache: Path,
) -> NDArray[np.float16]:
    """Return what the denoiser sees of images without noise, mapped from `cache`.

    Args:
        count: images of each manifest, its first ones.
        side: of the images that the pipeline renders; others are resized to it.
        cache: the file; written if it is not there.

    Returns:
        (number of manifests * count, c, s, s), those of one manifest after those of the other.
    """
    sides = [EncodedImages(manifest, side) for manifest in manifests]
    shape = encoded(sides[0][:1], vae, device).shape[1:]
    total = count * len(sides)
    if not checksums.intact(cache):
        cache.parent.mkdir(parents=True, exist_ok=True)
        with (
            atomic_path(cache) as part,
            part.open("wb") as file,
            Progress(total, "images encoded") as progress,
        ):
            for manifest, images in zip(manifests, sides, strict=True):
                for start in range(0, count, AT_ONCE):
                    end = min(start + AT_ONCE, count)
                    found = encoded(images[start:end], vae, device)
                    if not found.isfinite().all():
                        raise UserError(
                            f"{manifest.path}: the latents of one of the images {start} to "
                            f"{end - 1} are NaN or infinite in float16"
                        )
                    file.write(found.numpy().tobytes())
                    progress.update(end - start)
        checksums.note([cache])
    return np.memmap(cache, np.float16, "r", shape=(total, *shape))


@torch.inference_mode()
def encoded(images: NDArray[np.uint8], vae: Any, device: torch.device) -> Tensor:
    """Return what the denoiser sees of images (n, h, w, 3) without noise, float16 on the CPU."""
    pixels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).to(device).float() / 127.5 - 1
    if vae is None:
        return pixels.half().cpu()
    latents = vae.encode(pixels).latent_dist.mean
    latents = (latents - (vae.config.shift_factor or 0)) * vae.config.scaling_factor
    found: Tensor = latents.half().cpu()
    return found


class NoisedBatches:
    """Serve latents of an epoch in random order, with noise; see `classifiers.batches.Batches`.

    Args:
        latents: (n, c, s, s); labels: (n,).
    """

    def __init__(
        self, latents: NDArray[np.float16], labels: NDArray[np.int64], recipe: Recipe,
        scheduler: Any,
    ) -> None:  # fmt: skip
        self.latents, self.labels = latents, torch.from_numpy(labels)
        self.recipe, self.scheduler = recipe, scheduler

    @property
    def images_a_step(self) -> int:
        """The most that a batch has."""
        return self.recipe.batch_size

    def __len__(self) -> int:
        """Batches an epoch."""
        return math.ceil(len(self.latents) / self.recipe.batch_size)

    def epoch(self, seed: int, device: torch.device) -> Iterator[Batch]:
        """Yield the batches of an epoch; the seed alone decides what is drawn."""
        order = torch.randperm(len(self.latents), generator=_generator(seed, "order"))
        for number, chosen in enumerate(order.tensor_split(len(self))):
            rng = _generator(seed, "batch", number)
            labels = self.labels[chosen].to(device)
            inputs = noised(self.latents[chosen.numpy()], self.scheduler, rng).to(device)
            yield Batch(inputs, labels, labels, 1.0)


def noised(latents: NDArray[np.float16], scheduler: Any, rng: torch.Generator) -> Tensor:
    """Return latents (n, c, s, s) with noise of drawn levels, and these as one more channel."""
    clean = torch.from_numpy(np.array(latents)).float()
    alpha, sigma = draw_levels(scheduler, len(clean), rng)
    noise = torch.randn(clean.shape, generator=rng)
    samples = alpha.view(-1, 1, 1, 1) * clean + sigma.view(-1, 1, 1, 1) * noise
    return with_level(samples, sigma)


class Validation:
    """Validation latents with noise that stays the same: a few levels each.

    Args:
        latents: (n, c, s, s); labels: (n,).
    """

    def __init__(
        self, latents: NDArray[np.float16], labels: NDArray[np.int64], scheduler: Any, seed: int
    ) -> None:
        drawn = [
            noised(latents, scheduler, _generator(seed, "validation", number))
            for number in range(VAL_LEVELS)
        ]
        self.inputs = torch.cat(drawn)
        self.labels = torch.from_numpy(labels).repeat(VAL_LEVELS)

    def logits(self, model: nn.Module, batch_size: int) -> Tensor:
        """Return logits on the CPU, (levels * n, 2)."""
        device = next(model.parameters()).device
        model.eval()
        with torch.inference_mode():
            parts = self.inputs.split(batch_size)
            return torch.cat([model(part.to(device)).float().cpu() for part in parts])


def _generator(seed: int, *words: str | int) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(seed, *words))
