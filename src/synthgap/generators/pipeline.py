"""Any diffusers text-to-image pipeline folder behind one small interface."""

import inspect
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from synthgap.errors import UserError, suggest
from synthgap.generators.generation import Batch, OutOfMemoryError
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

    Raises:
        UserError: the folder holds no pipeline, or its call does not take an argument.
    """

    def __init__(
        self,
        folder: str | Path,
        options: dict[str, Any],
        device: str,
        repeated: Iterable[str] = (),
    ) -> None:
        # The job shows its own progress, and counts what they would warn of for each prompt.
        for library in (diffusers.utils, transformers.utils):
            library.logging.disable_progress_bar()
            library.logging.set_verbosity_error()
        self.pipeline = _load(Path(folder), options)
        self.device = device
        self.device_name = torch.cuda.get_device_name() if device.startswith("cuda") else device
        self.arguments = call_arguments(type(self.pipeline), options)
        _place(self.pipeline, options, device)
        self.pipeline.set_progress_bar_config(disable=True)
        accepted = inspect.signature(self.pipeline.__call__).parameters
        longest = accepted.get("max_sequence_length")
        self.truncation = TruncationCounter(
            self.pipeline,
            self.arguments.get("max_sequence_length", longest and longest.default),
        )
        negative = self.arguments.get("negative_prompt")
        PromptCache(self.pipeline, {*repeated, *([negative] if negative else [])}, self.truncation)

    def generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> Batch:
        """Generate an image for each prompt.

        Each image has a random generator of its own, on the CPU, seeded by its own seed: it does
        not depend on its neighbours in the batch, but for the last digits that the batch size
        moves in matrix products.

        Raises:
            OutOfMemoryError: the device has no room for so many at once.
        """
        return self._generate(prompts, seeds, self.arguments)

    def largest_batch(self, prompts: Sequence[str]) -> int:
        """Return the most images that fit in one call, found by halving on short trials."""
        if self.device == "cpu":
            return ON_CPU
        # Two steps take as much memory as fifty.
        short = self.arguments | {
            "num_inference_steps": min(2, self.arguments["num_inference_steps"])
        }
        size = MOST_ON_GPU
        while size > 1:
            some = [prompts[i % len(prompts)] for i in range(size)]
            try:
                self._generate(some, range(size), short)
                break
            except OutOfMemoryError:
                size //= 2
        log.info("batches of %d images fit in the memory of %s", size, self.device_name)
        return size

    def _generate(
        self, prompts: Sequence[str], seeds: Sequence[int], arguments: dict[str, Any]
    ) -> Batch:
        arguments = dict(arguments)
        if isinstance(arguments.get("negative_prompt"), str):
            # Not every pipeline repeats a single one for the whole batch.
            arguments["negative_prompt"] = [arguments["negative_prompt"]] * len(prompts)
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        self.truncation.start(len(prompts))
        try:
            # A copy, because some pipelines write their template into the caller's list.
            output = self.pipeline(prompt=list(prompts), generator=generators, **arguments)
            return self._finish(output, len(prompts))
        except torch.OutOfMemoryError:
            pass  # handled outside, where the traceback no longer holds on to tensors
        torch.cuda.empty_cache()
        raise OutOfMemoryError

    def _finish(self, output: Any, n: int) -> Batch:
        """Check and quantise on the device, so that as little as possible has to leave it."""
        images = output.images.float()
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
        height, width = self.arguments["height"], self.arguments["width"]
        if pixels.shape[2:] != (height, width):
            found = f"{pixels.shape[3]} x {pixels.shape[2]}"
            raise UserError(
                f"{type(self.pipeline).__name__} rendered {found} pixels where image_size asks for "
                f"{width}; name a size that it renders as it is"
            )
        return Batch(
            pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy(), failures, self.truncation.found()
        )


def call_arguments(pipeline: type, options: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of the pipeline's call, checked against what it takes.

    Raises:
        UserError: it does not take one of them.
    """
    side = options["image_size"]
    arguments: dict[str, Any] = {
        "num_inference_steps": options["steps"],
        "height": side,
        "width": side,
        "output_type": "pt",
        **options["arguments"],
    }
    if options["guidance_scale"] is not None:
        arguments[options["guidance_argument"] or "guidance_scale"] = options["guidance_scale"]
    accepted = inspect.signature(pipeline.__call__).parameters
    for name in arguments:
        if name not in accepted:
            known = [known for known in accepted if known != "self"]
            raise UserError(f"{pipeline.__name__} takes no argument `{name}`{suggest(name, known)}")
    return arguments


def _load(folder: Path, options: dict[str, Any]) -> Any:
    if not (folder / "model_index.json").exists():
        raise UserError(
            f"{folder} is no diffusers pipeline: it has no model_index.json; give the folder that "
            "`save_pretrained` wrote, or a hub id"
        )
    try:
        pipeline = diffusers.DiffusionPipeline.from_pretrained(
            folder,
            dtype=getattr(torch, options["dtype"]),
            variant=options["variant"],
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=options["trust_remote_code"],
        )
        if options["scheduler"]:
            scheduler = getattr(diffusers, options["scheduler"])
            pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config)
    except AttributeError:
        raise UserError(f"scheduler: diffusers has no `{options['scheduler']}`") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: cannot be loaded as a pipeline folder: {error}") from error
    return pipeline


def _place(pipeline: Any, options: dict[str, Any], device: str) -> None:
    """Put the pipeline on the device, the way the options say."""
    denoiser = getattr(pipeline, "unet", None) or pipeline.transformer
    if options["channels_last"]:
        for module in (denoiser, pipeline.vae):
            module.to(memory_format=torch.channels_last)
    if options["vae_slicing"]:
        if not hasattr(pipeline.vae, "enable_slicing"):
            raise UserError(
                f"vae_slicing: {type(pipeline.vae).__name__} cannot do it; leave it out"
            )
        pipeline.vae.enable_slicing()
    if options["offload"] == "none" or device == "cpu":
        pipeline.to(device)
    elif options["offload"] == "model":
        pipeline.enable_model_cpu_offload(device=device)
    else:
        pipeline.enable_sequential_cpu_offload(device=device)
    if options["compile"]:
        denoiser.compile()
