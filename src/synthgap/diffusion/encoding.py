"""Images and texts as a denoiser sees them: latents of an autoencoder, states of a text encoder."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor

from synthgap.errors import UserError

if TYPE_CHECKING:  # each takes seconds to import, and no job needs both
    from diffusers import AutoencoderKL
    from transformers import PreTrainedTokenizerBase, T5EncoderModel

# What a broken or foreign folder makes diffusers and transformers raise.
REFUSALS = (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError)


def load_autoencoder(folder: Path, device: str) -> "AutoencoderKL":
    """Return the autoencoder that a folder holds, itself or as a pipeline's `vae`.

    Raises:
        UserError: it holds none, or not as safetensors.
    """
    from diffusers import AutoencoderKL

    part = folder / "vae" if (folder / "vae").is_dir() else folder
    try:
        vae = AutoencoderKL.from_pretrained(part, use_safetensors=True, local_files_only=True)
    except REFUSALS as error:
        raise UserError(f"{folder} holds no AutoencoderKL in safetensors: {error}") from error
    return vae.to(device).eval()


def load_text_encoder(
    folder: Path, device: str, dtype: torch.dtype
) -> "tuple[PreTrainedTokenizerBase, T5EncoderModel]":
    """Return tokenizer and T5 encoder that a folder holds, itself or as a pipeline's parts.

    Raises:
        UserError: it holds none, or not as safetensors.
    """
    from transformers import AutoTokenizer, T5EncoderModel, utils

    utils.logging.disable_progress_bar()  # the log has what it says
    utils.logging.set_verbosity_error()
    parts = [folder, folder]
    if (folder / "text_encoder").is_dir():
        parts = [folder / "tokenizer", folder / "text_encoder"]
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            parts[0], local_files_only=True, trust_remote_code=False
        )
        encoder = T5EncoderModel.from_pretrained(
            parts[1], use_safetensors=True, local_files_only=True, dtype=dtype
        )
    except REFUSALS as error:
        raise UserError(f"{folder} holds no T5 encoder in safetensors: {error}") from error
    return tokenizer, encoder.to(device).eval()


def to_tensor(images: NDArray[np.uint8]) -> Tensor:
    """Turn uint8 (n, height, width, 3) into float32 (n, 3, height, width) in [-1, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.inference_mode()
def posterior(
    vae: "AutoencoderKL", images: NDArray[np.uint8], device: str
) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of images' latents, float32 on the CPU, not scaled.

    Args:
        images: (n, height, width, 3).

    Returns:
        (n, channels, h, w) each; NaN where the autoencoder's answer is no number.

    Raises:
        UserError: the autoencoder cannot shrink images of this size.
    """
    height, width = images.shape[1:3]
    shrinks = 2 ** (len(vae.config.block_out_channels) - 1)
    if height % shrinks or width % shrinks:
        raise UserError(
            f"images of {width} x {height} pixels: the autoencoder halves sides "
            f"{len(vae.config.block_out_channels) - 1} times and needs multiples of {shrinks}"
        )
    found = vae.encode(to_tensor(images).to(device)).latent_dist
    # An infinite logarithm of a variance is clamped, and would be none to be seen.
    _, logvar = found.parameters.chunk(2, dim=1)
    std = found.std.where(logvar.isfinite(), math.nan)
    return found.mean.float().cpu(), std.float().cpu()


def tokenize(
    tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str], most: int
) -> list[list[int]]:
    """Return the tokens of texts as `PixArtAlphaPipeline` makes them, `most` at most, unpadded."""
    plain = [text.lower().strip() for text in texts]
    tokens: Any = tokenizer(plain, max_length=most, truncation=True)["input_ids"]
    return [list(some) for some in tokens]


@torch.inference_mode()
def embed(
    encoder: "T5EncoderModel", texts: Sequence[Sequence[int]], batch_size: int
) -> Iterator[Tensor]:
    """Yield the encoder's last states (words, width) of each text's tokens, on the CPU."""
    for start in range(0, len(texts), batch_size):
        some = [torch.tensor(text) for text in texts[start : start + batch_size]]
        words = torch.tensor([len(text) for text in some])
        tokens = torch.nn.utils.rnn.pad_sequence(some, batch_first=True).to(encoder.device)
        mask = (torch.arange(int(words.max())) < words[:, None]).to(encoder.device)
        states = encoder(tokens, attention_mask=mask.long())[0].cpu()
        for state, count in zip(states, words.tolist(), strict=True):
            yield state[:count]
