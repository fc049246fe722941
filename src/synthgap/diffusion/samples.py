"""Contact sheets of what a denoiser makes while it learns: images above, samples of their texts."""

import shutil
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, PixArtAlphaPipeline
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from synthgap.atomic import atomic_path
from synthgap.diffusion.mixture import Source
from synthgap.diffusion.objectives import Objective

COUNT = 8  # images a sheet
STEPS = 20
GUIDANCE = (1.0, 4.0)  # a row of samples for each


class Samples:
    """Draws a sheet `step-00000100.png` for each step it is asked for, into a scratch folder."""

    def __init__(
        self, images: Source, vae: AutoencoderKL, objective: Objective, device: str, folder: Path
    ) -> None:
        self.images, self.vae, self.objective = images, vae, objective
        self.device, self.folder = device, folder

    @torch.no_grad()
    def draw(self, step: int, denoiser: nn.Module) -> None:
        """Draw the sheet after a step, with the denoiser as it is then."""
        texts = self.images.texts[-1]
        rows = np.flatnonzero(texts.has())
        chosen = rows[np.linspace(0, len(rows) - 1, min(COUNT, len(rows))).astype(int)]
        shown = [self._decoded([self.images.latents.read(int(row), None) for row in chosen])]
        for scale in GUIDANCE:
            states = [texts.read(int(row)) for row in chosen]
            shown.append(self._sampled(denoiser, states, texts.empty, scale))
        sheet = np.concatenate([np.concatenate(list(row), axis=1) for row in shown])
        path = self.folder / f"step-{step:08d}.png"
        with atomic_path(path) as part:
            Image.fromarray(sheet).save(part, format="png")

    def save(self, folder: Path) -> None:
        """Copy all sheets into a folder."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)

    def _sampled(
        self, denoiser: nn.Module, states: list[Tensor], empty: Tensor, scale: float
    ) -> NDArray[np.uint8]:
        pipeline = PixArtAlphaPipeline(
            tokenizer=None,
            text_encoder=None,
            vae=self.vae,
            transformer=denoiser,
            scheduler=self.objective.scheduler(),
        )
        pipeline.set_progress_bar_config(disable=True)
        words = max(len(text) for text in [*states, empty])
        text, mask = padded(states, words)
        none, none_mask = padded([empty] * len(states), words)
        dtype = next(denoiser.parameters()).dtype
        side = self.images.latents.shape[1] * pipeline.vae_scale_factor
        latents = pipeline(
            prompt=None,
            negative_prompt=None,
            prompt_embeds=text.to(self.device, dtype),
            prompt_attention_mask=mask.to(self.device),
            negative_prompt_embeds=none.to(self.device, dtype),
            negative_prompt_attention_mask=none_mask.to(self.device),
            num_inference_steps=STEPS,
            guidance_scale=scale,
            height=side,
            width=side,
            use_resolution_binning=False,
            generator=[torch.Generator().manual_seed(i) for i in range(len(states))],
            output_type="latent",
        ).images
        return self._decoded(list(latents.float().cpu()))

    def _decoded(self, latents: list[Tensor]) -> NDArray[np.uint8]:
        """Return images (n, height, width, 3) of scaled latents."""
        scaled = torch.stack(latents).to(self.device) / self.images.latents.scale
        pixels = self.vae.decode(scaled).sample
        bytes_ = ((pixels.clamp(-1, 1) + 1) * 127.5).round().byte()
        return np.asarray(bytes_.permute(0, 2, 3, 1).cpu().numpy())


def padded(texts: list[Tensor], words: int) -> tuple[Tensor, Tensor]:
    """Return states (n, words, width) and their mask (n, words)."""
    mask = torch.arange(words) < torch.tensor([len(text) for text in texts])[:, None]
    rows = [torch.nn.functional.pad(text, (0, 0, 0, words - len(text))) for text in texts]
    return torch.stack(rows), mask.long()
