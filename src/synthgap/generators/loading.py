"""Load a diffusers pipeline folder, check it against a generator's options, put it on a device."""

import importlib
import inspect
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from safetensors import SafetensorError

from synthgap.devices import is_too_large
from synthgap.diffusion import DENOISER_MODULES
from synthgap.diffusion.edm import PIPELINE_CLASS, PIPELINE_MODULE
from synthgap.errors import UserError, suggest

# What diffusers and transformers raise of folders that are damaged, lack a part or bring code.
REFUSALS = (
    AttributeError,
    ImportError,
    IndexError,
    KeyError,
    OSError,
    RuntimeError,
    SafetensorError,
    TypeError,
    ValueError,
)
ADVICE = "set `offload: model` (or `sequential`) for this generator, or take a larger device"


def load_pipeline(folder: Path, options: dict[str, Any]) -> Any:
    """Return the pipeline in `folder`, with the scheduler that the options name.

    Raises:
        UserError: the folder holds no text-to-image pipeline that this version of diffusers runs.
    """
    # The job shows its own progress, and counts what they would warn of for each prompt.
    for library in (diffusers.utils, transformers.utils):
        library.logging.disable_progress_bar()
        library.logging.set_verbosity(logging.CRITICAL)  # what matters of it is raised
    index = folder / "model_index.json"
    if not index.exists():
        raise UserError(
            f"{folder} is no diffusers pipeline: it has no model_index.json; give the folder that "
            "`save_pretrained` wrote, or a hub id"
        )
    try:
        parts = dict(json.loads(index.read_text()))
    except (OSError, TypeError, ValueError) as error:
        raise UserError(f"{index} is damaged: {error}") from error
    _import_own(parts)
    name = parts.get("_class_name")
    own = name == PIPELINE_CLASS
    if isinstance(name, str) and not own and not hasattr(diffusers, name):
        raise UserError(
            f"{folder}: diffusers {diffusers.__version__} has no {name}; a newer one may have"
        )
    scheduler = options["scheduler"] and getattr(diffusers, options["scheduler"], None)
    if options["scheduler"] and not hasattr(scheduler, "from_config"):
        raise UserError(f"scheduler: diffusers has no scheduler `{options['scheduler']}`")
    library = importlib.import_module(PIPELINE_MODULE) if own else diffusers
    loader = getattr(library, PIPELINE_CLASS if own else "DiffusionPipeline")
    try:
        pipeline = loader.from_pretrained(
            folder,
            dtype=getattr(torch, options["dtype"]),
            variant=options["variant"],
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=options["trust_remote_code"],
        )
    except REFUSALS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{folder}: cannot be loaded as a pipeline folder: {reason}") from error
    if scheduler:
        pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config)
    of_classes = "class_labels" in inspect.signature(pipeline.__call__).parameters
    if of_classes and options.get("class_labels") is None:
        raise UserError(
            f"{folder}: {name} is told classes by number; set the generator's `class_labels`"
        )
    if options.get("class_labels") is not None and not of_classes:
        raise UserError(f"{folder}: {name} is told prompts; leave `class_labels` out")
    if denoiser_of(pipeline) is None or not (of_classes or hasattr(pipeline, "encode_prompt")):
        raise UserError(f"{folder}: {name} is no text-to-image pipeline of a single denoiser")
    # SDXL's would mark images only where a certain package happens to be installed.
    if getattr(pipeline, "watermark", None) is not None:
        pipeline.watermark = None
    return pipeline


def _import_own(parts: Mapping[str, Any]) -> None:
    """Import the denoisers of this library that a pipeline names: diffusers does not by itself."""
    for part in parts.values():
        if isinstance(part, list) and part and part[0] in DENOISER_MODULES.values():
            importlib.import_module(part[0])


def denoiser_of(pipeline: Any) -> Any:
    """Return the network that is called at each step."""
    return getattr(pipeline, "unet", None) or getattr(pipeline, "transformer", None)


def call_arguments(pipeline: type, options: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of the pipeline's call, checked against what it takes.

    Raises:
        UserError: it does not take one of them.
    """
    side = options["image_size"]
    accepted = inspect.signature(pipeline.__call__).parameters
    # Pipelines that are told classes have one size.
    size = {"height": side, "width": side} if "height" in accepted else {}
    arguments: dict[str, Any] = {
        "num_inference_steps": options["steps"],
        **size,
        "output_type": "pt",
        **options["arguments"],
    }
    if options["guidance_scale"] is not None:
        arguments[options["guidance_argument"] or "guidance_scale"] = options["guidance_scale"]
    for name in arguments:
        if name not in accepted:
            known = [known for known in accepted if known != "self"]
            raise UserError(f"{pipeline.__name__} takes no argument `{name}`{suggest(name, known)}")
    return arguments


def check_guidance(pipeline: Any, arguments: dict[str, Any]) -> None:
    """Refuse a guidance scale that the pipeline takes and then does not read.

    Raises:
        UserError: `guidance_scale` is given to a network that has no such input, and the class
            guides by `true_cfg_scale`.
    """
    guided = arguments.get("guidance_scale", 0) > 1
    accepts_true = "true_cfg_scale" in inspect.signature(pipeline.__call__).parameters
    reads = getattr(denoiser_of(pipeline).config, "guidance_embeds", True)
    if guided and accepts_true and not reads:
        raise UserError(
            f"this {type(pipeline).__name__} does not read `guidance_scale`; set "
            "`guidance_argument: true_cfg_scale` and `arguments: {negative_prompt: ' '}`, or "
            "`guidance_scale: 1.0` for a model that wants no guidance"
        )


def place(pipeline: Any, options: dict[str, Any], device: str) -> None:
    """Put the pipeline on the device, the way the options say.

    Raises:
        UserError: it does not fit there, or an option does not suit it.
    """
    vae: Any = getattr(pipeline, "vae", None)
    if options["vae_slicing"]:
        if not hasattr(vae, "enable_slicing"):
            raise UserError(
                f"vae_slicing: {type(vae or pipeline).__name__} cannot do it; leave it out"
            )
        vae.enable_slicing()
    if options["channels_last"]:
        for module in (denoiser_of(pipeline), *([vae] if vae else [])):
            if any(parameter.dim() == 5 for parameter in module.parameters()):
                raise UserError(
                    f"channels_last: {type(module).__name__} is not for flat images; leave it out"
                )
            module.to(memory_format=torch.channels_last)
    try:
        if options["offload"] == "none" or device == "cpu":
            pipeline.to(device)
        elif options["offload"] == "model":
            pipeline.enable_model_cpu_offload(device=device)
        else:
            pipeline.enable_sequential_cpu_offload(device=device)
    except RuntimeError as error:
        if not is_too_large(error):
            raise
        raise UserError(f"the model itself does not fit in the device's memory; {ADVICE}") from None
