"""The parts of a text-to-image model, and the stock pipeline that they make.

Tokenizer and T5 encoder, autoencoder, and a denoiser of paper B: what `PixArtAlphaPipeline` is made
of, so that `DiffusionPipeline.from_pretrained` loads the result and `generate_images` takes it as
any other generator.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, PixArtAlphaPipeline
from safetensors.torch import load_file
from torch import nn
from transformers import PreTrainedTokenizerBase, T5Config, T5EncoderModel

from synthgap.diffusion.cad import CADI
from synthgap.diffusion.dit import DiTI
from synthgap.diffusion.objectives import Objective
from synthgap.errors import UserError
from synthgap.model_folder import read_config
from synthgap.seeds import derive_seed

DENOISERS = {"dit-i": DiTI, "cad-i": CADI}


def build_text_encoder(
    tokenizer: PreTrainedTokenizerBase, width: int, layers: int
) -> T5EncoderModel:
    """Return an untrained T5 encoder for `tokenizer`."""
    return T5EncoderModel(
        T5Config(
            vocab_size=len(tokenizer),
            d_model=width,
            d_kv=width // 4,
            d_ff=2 * width,
            num_layers=layers,
            num_heads=4,
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


def build_denoiser(
    settings: Mapping[str, Any],
    *,
    latents: tuple[int, ...],
    text_width: int,
    crop_tokens: bool,
    seed: int,
) -> nn.Module:
    """Return an untrained denoiser, the same for the same arguments.

    Args:
        settings: `kind`, one of `DENOISERS`, and options of that class.
        latents: (channels, height, width) of what it will see.
        text_width: of the text encoder's states.
        crop_tokens: whether it is to learn from crops.

    Raises:
        UserError: options that do not fit each other, or the latents.
    """
    options = dict(settings)
    kind = options.pop("kind")
    channels, height, width = latents
    size = options["patch_size"]
    if height != width or height % size:
        raise UserError(
            f"denoiser.patch_size: {size} does not divide latents of {width} x {height}, or they "
            "are not square"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "initial weights"))
        try:
            model: nn.Module = DENOISERS[kind](
                sample_size=height,
                in_channels=channels,
                out_channels=channels,
                text_width=text_width,
                crop_tokens=crop_tokens,
                **options,
            )
        except ValueError as error:
            raise UserError(f"denoiser: {error}") from error
    return model


def continue_from(
    folder: Path,
    settings: Mapping[str, Any],
    *,
    latents: tuple[int, ...],
    text_width: int,
    crop_tokens: bool,
    seed: int,
) -> nn.Module:
    """Return a denoiser with the weights of a pipeline folder's, to be trained on.

    It may see latents of another size; positions stay where they were learnt. What reads crops is
    new where the folder's model has none.

    Args:
        settings, latents, text_width, crop_tokens, seed: see `build_denoiser`.

    Raises:
        UserError: the folder holds no denoiser of this kind and size.
    """
    part = folder / "transformer"
    config = read_config(part)
    known = {name: value for name, value in config.items() if not name.startswith("_")}
    had_crops = bool(known.pop("crop_tokens", False))
    side = known.pop("sample_size", None)
    base = known.pop("base_size", None) or side
    model = build_denoiser(
        {**settings, "base_size": base if base != latents[1] else None},
        latents=latents,
        text_width=text_width,
        crop_tokens=crop_tokens or had_crops,
        seed=seed,
    )
    ours: Any = model.config
    if config.get("_class_name") != type(model).__name__:
        raise UserError(f"{part} holds a {config.get('_class_name')}, not a {type(model).__name__}")
    for name, value in known.items():
        if name in ours and ours[name] != value:
            raise UserError(
                f"{part}: {name} is {value} there and {ours[name]} here; a model that goes on from "
                "another has its denoiser, latents and text encoder"
            )
    weights = load_file(part / "diffusion_pytorch_model.safetensors")
    missing, foreign = model.load_state_dict(weights, strict=False)
    if foreign or [name for name in missing if not name.startswith("text.crop.")]:
        raise UserError(f"{part}: the weights are not of a {type(model).__name__} of its config")
    return model


def assemble(
    denoiser: nn.Module,
    objective: Objective,
    vae: AutoencoderKL,
    tokenizer: PreTrainedTokenizerBase,
    text_encoder: T5EncoderModel,
) -> PixArtAlphaPipeline:
    """Return the pipeline of a trained denoiser and what it was trained with."""
    return PixArtAlphaPipeline(
        tokenizer=tokenizer,
        text_encoder=text_encoder,
        vae=vae,
        transformer=denoiser,
        scheduler=objective.scheduler(),
    )


def lay_out_snapshots(pipeline: Path, denoisers: Path, folder: Path) -> None:
    """Make a pipeline folder `{step}` of each denoiser of a training, in `folder`.

    What they share with the finished pipeline takes no more room where files can have two names.

    Args:
        denoisers: folder of denoisers by step; need not be there.
    """
    for part in sorted(denoisers.glob("*")):
        ignored = shutil.ignore_patterns("transformer")
        shutil.copytree(pipeline, folder / part.name, ignore=ignored, copy_function=_link)
        shutil.copytree(part, folder / part.name / "transformer")


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # not all file systems can
        shutil.copy2(source, target)
