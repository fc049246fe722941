"""The pipeline of an EDM model: what `generate_images` calls, as any other that is told classes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import Generator, Tensor

from synthgap.diffusion.edm import REAL_LABEL
from synthgap.diffusion.edm.network import EDMUNet
from synthgap.diffusion.edm.preconditioning import Preconditioning
from synthgap.diffusion.edm.sampler import RHO, SIGMA_MAX, SIGMA_MIN, heun, noise_levels


@dataclass
class EDMOutput(ImagePipelineOutput):  # type: ignore[misc]
    """Images, and how often the network was evaluated for each."""

    evaluations: int = 0


class EDMPipeline(DiffusionPipeline):  # type: ignore[misc]
    """Samples from a trained `EDMUNet`; `EDMPipeline.from_pretrained(folder)` loads one.

    Args:
        sigma_data: of its `Preconditioning`.
    """

    def __init__(self, unet: EDMUNet, sigma_data: float = 0.5) -> None:
        super().__init__()
        self.register_modules(unet=unet)
        self.register_to_config(sigma_data=sigma_data)

    @torch.no_grad()
    def __call__(
        self,
        class_labels: int | Sequence[int] = 0,
        num_inference_steps: int = 18,
        generator: Generator | list[Generator] | None = None,
        source_label: int = REAL_LABEL,
        sigma_min: float = SIGMA_MIN,
        sigma_max: float = SIGMA_MAX,
        rho: float = RHO,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> EDMOutput | tuple[Any]:
        """Generate an image for each class label, in 2 `num_inference_steps` - 1 evaluations.

        Args:
            class_labels: class of each image. A model without classes reads only how many they are.
            generator: one for all, or one for each: then no image depends on those beside it.
            source_label: whose images are asked for; 0, the real ones', unless told otherwise. A
                model that was not told sources does not read it.
            sigma_min, sigma_max, rho: of `sampler.noise_levels`.
            output_type: `pt` (n, 3, side, side), `np` (n, side, side, 3), both in 0..1, or `pil`.

        Raises:
            ValueError: a label that the model does not know, or no such noise levels.
        """
        classes = torch.atleast_1d(torch.as_tensor(class_labels))
        config: Any = self.unet.config
        for name, known, highest in (
            ("source_label", config.sources, source_label),
            ("class_labels", config.classes, int(classes.max())),
        ):
            if known and not 0 <= highest < known:
                raise ValueError(f"{name}: {highest} is none of the model's {known}, from 0")
        device, count = self._execution_device, len(classes)
        shape = (count, config.in_channels, config.sample_size, config.sample_size)
        noise = randn_tensor(shape, generator=generator, device=device, dtype=torch.float32)
        sources = torch.full((count,), source_label, device=device)
        labels = classes.to(device)

        def network(noisy: Tensor, level: Tensor) -> Tensor:
            found: Tensor = self.unet(noisy, level, sources, labels)
            return found

        preconditioning = Preconditioning(self.config.sigma_data)

        def denoise(noisy: Tensor, sigma: Tensor) -> Tensor:
            return preconditioning.denoise(network, noisy, sigma)

        levels = noise_levels(num_inference_steps, sigma_min, sigma_max, rho)
        with self.progress_bar(total=num_inference_steps) as bar:
            sampled = heun(denoise, noise, levels, bar.update)
        self.maybe_free_model_hooks()
        images = (sampled.images / 2 + 0.5).float()
        # What diverged is to be seen: an infinity would become white.
        images = images.clamp(0, 1).where(images.isfinite(), math.nan)
        shown: Any = images
        if output_type != "pt":
            shown = images.permute(0, 2, 3, 1).cpu().numpy()
        if output_type == "pil":
            shown = self.numpy_to_pil(np.asarray(shown))
        return EDMOutput(shown, sampled.evaluations) if return_dict else (shown,)
