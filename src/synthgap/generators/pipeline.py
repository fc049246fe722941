"""Any diffusers text-to-image pipeline folder behind one small interface."""

import importlib
import inspect
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
import transformers
from torch import Tensor

from synthgap.devices import is_too_large
from synthgap.errors import UserError
from synthgap.generators.generation import Batch, OutOfMemoryError
from synthgap.generators.loading import (
    call_arguments,
    check_guidance,
    denoiser_of,
    load_pipeline,
    place,
)
from synthgap.generators.prompting import PromptCache, TruncationCounter

log = logging.getLogger("synthgap")

# Where the search for the largest batch starts on a GPU, and what a CPU takes: there the batch
# size hardly matters, and running out of memory ends the process.
MOST_ON_GPU, ON_CPU = 64, 16


class TextToImage:
    """A loaded pipeline with the settings of one generator.

    Args:
        folder: a diffusers pipeline folder.
        options: as `Config.generator_options` returns them.
        device: `cpu`, `cuda`, ...
        repeated: prompts that will come again; each is encoded once.
        classes: class index by prompt, for a pipeline that is told classes.
        realism: the classifier that steers the sampler, with the weight `options["realism"]`.

    Raises:
        UserError: the folder holds no pipeline, it does not fit on the device, or its call does
            not take an argument.
    """

    def __init__(
        self,
        folder: str | Path,
        options: dict[str, Any],
        device: str,
        repeated: Iterable[str] = (),
        classes: Mapping[str, int] | None = None,
        realism: Path | None = None,
    ) -> None:
        self.side = options["image_size"]
        self.labels = _labels(options.get("class_labels"), classes or {})
        self.pipeline = load_pipeline(Path(folder), options)
        self.arguments = call_arguments(type(self.pipeline), options)
        check_guidance(self.pipeline, self.arguments)
        place(self.pipeline, options, device)
        if realism:
            # By name, so that its code counts among what shapes guided images alone.
            guiding = importlib.import_module("synthgap.diffusion.realism")
            guiding.steer(self.pipeline, realism, options["realism"], device)
        self.pipeline.set_progress_bar_config(disable=True)
        self.device, self.to_compile = device, options["compile"]
        self.made_with = {
            "device": torch.cuda.get_device_name() if device.startswith("cuda") else device,
            "torch": torch.__version__,
            "diffusers": diffusers.__version__,
            "transformers": transformers.__version__,
        }
        if processor := getattr(self.pipeline, "image_processor", None):
            processor.denormalize = _keeping_infinities(processor.denormalize)
        self.vae = getattr(self.pipeline, "vae", None)  # some denoise pixels
        self.vae_dtype = getattr(self.vae, "dtype", None)
        longest = inspect.signature(self.pipeline.__call__).parameters.get("max_sequence_length")
        self.truncation = TruncationCounter(
            self.pipeline,
            self.arguments.get("max_sequence_length", longest and longest.default),
        )
        if self.labels is not None:
            return
        negative = self.arguments.get("negative_prompt")
        PromptCache(self.pipeline, {*repeated, *([negative] if negative else [])}, self.truncation)

    def generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> Batch:
        """Generate an image for each prompt.

        Each image has a random generator of its own, on the CPU, seeded by its own seed: it does
        not depend on its neighbours in the batch, but for the last digits that the batch size
        moves in matrix products.

        Raises:
            OutOfMemoryError: the device has no room for so many at once.
            UserError: the pipeline refuses its arguments.
        """
        if self.to_compile:  # not before: the search for the batch size would compile each trial
            self.to_compile = False
            torch._dynamo.config.recompile_limit = MOST_ON_GPU  # one for each size of a batch
            denoiser_of(self.pipeline).compile(dynamic=False)
        return self._generate(prompts, seeds, self.arguments)

    def largest_batch(self, prompts: Sequence[str]) -> int:
        """Return how many of `prompts` fit in one call, found by halving on short trials."""
        if self.device == "cpu":
            return min(ON_CPU, len(prompts))
        # Two steps take as much memory as fifty.
        steps = min(2, self.arguments["num_inference_steps"])
        short = self.arguments | {"num_inference_steps": steps}
        size = min(MOST_ON_GPU, len(prompts))
        while size > 1:
            try:
                self._generate(prompts[:size], range(size), short)
                break
            except OutOfMemoryError:
                size //= 2
        log.info("batches of %d images fit in the memory of %s", size, self.made_with["device"])
        return size

    def _generate(
        self, prompts: Sequence[str], seeds: Sequence[int], arguments: dict[str, Any]
    ) -> Batch:
        arguments = dict(arguments)
        if isinstance(arguments.get("negative_prompt"), str):
            # Not every pipeline repeats a single one for the whole batch.
            arguments["negative_prompt"] = [arguments["negative_prompt"]] * len(prompts)
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        self.truncation.start(prompts)
        try:
            # A copy, because some pipelines write their template into the caller's list.
            asked: dict[str, Any] = {"prompt": list(prompts)}
            if self.labels is not None:
                asked = {"class_labels": [self.labels[prompt] for prompt in prompts]}
            output = self.pipeline(**asked, generator=generators, **arguments)
            return self._finish(output, len(prompts))
        except ValueError as error:
            name = type(self.pipeline).__name__
            raise UserError(f"{name} refuses what it is called with: {error}") from error
        except RuntimeError as error:
            if not is_too_large(error):
                raise
        # Out here the traceback no longer holds on to tensors.
        self._recover()
        raise OutOfMemoryError

    def _recover(self) -> None:
        """Undo what a call that was broken off leaves behind."""
        self.pipeline.maybe_free_model_hooks()  # parts that were to leave the card after the call
        if (
            self.vae and self.vae.dtype != self.vae_dtype
        ):  # SDXL decodes in float32 and then returns
            self.vae.to(self.vae_dtype)
        torch.cuda.empty_cache()

    def _finish(self, output: Any, n: int) -> Batch:
        """Check and quantise on the device, so that as little as possible has to leave it."""
        images = output.images
        if isinstance(images, np.ndarray):  # DiT's pipeline knows no tensors
            images = torch.from_numpy(images).permute(0, 3, 1, 2)
        images = images.float()
        finite = images.isfinite().flatten(1).all(1).tolist()
        pixels = (images.nan_to_num() * 255).round().clamp(0, 255).to(torch.uint8)
        light = (pixels.flatten(1).amax(1) > 0).tolist()
        refused = getattr(output, "nsfw_content_detected", None) or [False] * n
        failures: list[str | None] = []
        for i in range(n):
            if refused[i]:
                failures.append("refused by the pipeline's safety checker")
            elif not finite[i]:
                failures.append("sampling diverged: not a number")
            else:
                failures.append(None if light[i] else "all pixels are black")
        if pixels.shape[2:] != (self.side, self.side):
            found = f"{pixels.shape[3]} x {pixels.shape[2]}"
            raise UserError(
                f"{type(self.pipeline).__name__} rendered {found} pixels where image_size asks for "
                f"{self.side}; name a size that it renders as it is"
            )
        return Batch(
            pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy(), failures, self.truncation.found()
        )


def _labels(told: str | list[int] | None, classes: Mapping[str, int]) -> dict[str, int] | None:
    """Return the model's number of each prompt's class; None for a pipeline of prompts."""
    if told is None:
        return None
    if isinstance(told, str):  # `order`
        return dict(classes)
    if classes and max(classes.values()) >= len(told):
        raise UserError(
            f"class_labels: {len(told)} numbers, and there is a class {max(classes.values())}"
        )
    return {prompt: told[index] for prompt, index in classes.items()}


def _keeping_infinities(denormalize: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Return the step that clamps images, but for what diverged: an infinity would become white.

    DiT's pipeline has no such step of its own; there an infinity out of the autoencoder is white.
    """
    return lambda images: denormalize(images).where(images.isfinite(), math.nan)
