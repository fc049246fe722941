"""The parts of a text-to-image model, and the stock pipeline that they make.

Tokenizer and T5 encoder, autoencoder, and a denoiser of paper B: what `PixArtAlphaPipeline` is made
of, so that `DiffusionPipeline.from_pretrained` loads the result and `generate_images` takes it as
any other generator.
"""

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import AutoencoderKL, PixArtAlphaPipeline
from torch import nn
from transformers import PreTrainedTokenizerBase, T5Config, T5EncoderModel

from synthgap.diffusion.cad import CADI
from synthgap.diffusion.dit import DiTI
from synthgap.diffusion.objectives import Objective
from synthgap.errors import UserError
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
