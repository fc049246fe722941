"""Any diffusers text-to-image pipeline, from a folder or the hub, behind one small interface."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from diffusers import DiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from numpy.typing import NDArray

from synthgap.errors import UserError, suggest


class TextToImage:
    """A loaded pipeline with the settings of one generator.

    Args:
        model: a diffusers pipeline folder, or a hub id.
        options: as `Config.generator_options` returns them.
    """

    def __init__(self, model: str, options: dict[str, Any], device: str) -> None:
        diffusers_logging.disable_progress_bar()  # of loading; the job shows its own
        transformers.utils.logging.disable_progress_bar()
        self.pipeline = _load(model, options["revision"], options["dtype"]).to(device)
        self.pipeline.set_progress_bar_config(disable=True)
        side = options["image_size"]
        self.arguments: dict[str, Any] = {
            "num_inference_steps": options["steps"],
            "guidance_scale": options["guidance_scale"],
            "height": side,
            "width": side,
            "output_type": "np",
            **options["arguments"],
        }
        accepted = inspect.signature(type(self.pipeline).__call__).parameters
        for name in self.arguments:
            if name not in accepted:
                raise UserError(
                    f"{model}: {type(self.pipeline).__name__} takes no argument `{name}`"
                    f"{suggest(name, [n for n in accepted if n != 'self'])}"
                )

    def generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> NDArray[np.float32]:
        """Return images in [0, 1], float32 (n, height, width, 3); NaN where there is none.

        Each image has a random generator of its own, on the CPU, seeded by its own seed: it does
        not depend on its neighbours in the batch, but for the last digits that the batch size
        moves in matrix products.
        """
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        # A copy, because some pipelines write their template into the caller's list.
        output = self.pipeline(prompt=list(prompts), generator=generators, **self.arguments)
        images = np.array(output.images, dtype=np.float32)
        # A safety checker paints over what it refuses; black squares are no training images.
        refused = getattr(output, "nsfw_content_detected", None)
        if refused is not None:
            images[np.asarray(refused, dtype=bool)] = np.nan
        return images


def _load(model: str, revision: str | None, dtype: str) -> DiffusionPipeline:
    folder = Path(model)
    if folder.is_dir() and not (folder / "model_index.json").exists():
        raise UserError(
            f"{model} is no diffusers pipeline: it has no model_index.json; give the folder that "
            "`save_pretrained` wrote, or a hub id"
        )
    try:
        return DiffusionPipeline.from_pretrained(
            model, revision=revision, dtype=getattr(torch, dtype), use_safetensors=True
        )
    except (OSError, ValueError) as error:
        raise UserError(
            f"{model}: cannot be loaded as a pipeline folder or from the hub: {error}"
        ) from error
