"""Train a small text-conditional diffusion transformer, saved as a stock diffusers pipeline.

The parts are those of PixArt-alpha (a T5 encoder, a transformer with cross-attention to the text
and adaLN-single), at sizes for a laptop, trained from nothing with rectified flow (Liu et al.
2023; times drawn from a logit-normal distribution, Esser et al. 2024, section 3.1). The result
loads with `DiffusionPipeline.from_pretrained` and needs no code of ours.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    PixArtAlphaPipeline,
    PixArtTransformer2DModel,
)
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase, T5Config, T5EncoderModel

from synthgap import stopping
from synthgap.checkpoint import Checkpoint
from synthgap.data.shards import Manifest
from synthgap.diffusion.autoencoder import build_autoencoder, encode, train_autoencoder
from synthgap.diffusion.tokenizer import make_tokenizer
from synthgap.errors import UserError
from synthgap.progress import Progress
from synthgap.prompts import describe
from synthgap.seeds import derive_seed

TIMESTEPS = 1000  # diffusers counts the time t in [0, 1] of the flow in thousandths


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


def build_transformer(
    latent_size: int, latent_channels: int, width: int, layers: int, text_width: int
) -> PixArtTransformer2DModel:
    """Return an untrained diffusion transformer with one token a latent pixel."""
    return PixArtTransformer2DModel(
        sample_size=latent_size,
        in_channels=latent_channels,
        out_channels=latent_channels,
        patch_size=1,
        num_layers=layers,
        num_attention_heads=width // 32,
        attention_head_dim=32,
        cross_attention_dim=width,
        caption_channels=text_width,
        use_additional_conditions=False,
    )


def velocity(
    transformer: PixArtTransformer2DModel,
    text_encoder: T5EncoderModel,
    latents: Tensor,
    times: Tensor,
    tokens: Tensor,
    mask: Tensor,
) -> Tensor:
    """Return the model's velocity, noise minus data, at `times` in [0, 1] (1 is all noise)."""
    text = text_encoder(tokens, attention_mask=mask)[0]
    predicted: Tensor = transformer(
        latents,
        encoder_hidden_states=text,
        encoder_attention_mask=mask,
        timestep=times * TIMESTEPS,
        added_cond_kwargs={"resolution": None, "aspect_ratio": None},
    ).sample
    return predicted


class MovingAverage:
    """Exponential moving average of parameters, with a ramp at the start."""

    def __init__(self, parameters: Sequence[Tensor], decay: float) -> None:
        self.live, self.decay = list(parameters), decay
        self.average = [p.detach().clone() for p in self.live]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the live parameters after optimiser step `step` (from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.live], 1 - decay)

    @torch.no_grad()
    def copy_to_live(self) -> None:
        """Overwrite the live parameters by their average."""
        torch._foreach_copy_(self.live, self.average)


def train_flow(
    transformer: PixArtTransformer2DModel,
    text_encoder: T5EncoderModel,
    latents: Tensor,
    tokens: Sequence[tuple[Tensor, Tensor]],
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    ema_decay: float,
    drop_text: float,
    seed: int,
    checkpoint: Checkpoint,
) -> None:
    """Train transformer and text encoder in place; they end with the averaged weights.

    Args:
        latents: float32 (n, channels, height, width) of unit scale.
        tokens: one (tokens, mask) pair of shape (n, length) for each kind of prompt, then one of
            shape (1, length) for the empty prompt. Each image in a batch draws its kind evenly,
            and the empty prompt with probability `drop_text`, which makes guidance possible.
    """
    *kinds, (empty_tokens, empty_mask) = tokens
    all_tokens = torch.stack([t for t, _ in kinds])
    all_masks = torch.stack([m for _, m in kinds])
    # Attention ignores padding, so what no prompt reaches can go: it only costs time.
    longest = int(all_masks.sum(-1).max())
    all_tokens, all_masks = all_tokens[..., :longest], all_masks[..., :longest]
    empty_tokens, empty_mask = empty_tokens[..., :longest], empty_mask[..., :longest]
    parameters = [*transformer.parameters(), *text_encoder.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, learning_rate, total_steps=steps, pct_start=0.1
    )
    average = MovingAverage(parameters, ema_decay)
    first = 0
    if state := checkpoint.load():
        first = state["step"]
        transformer.load_state_dict(state["transformer"])
        text_encoder.load_state_dict(state["text_encoder"])
        average.average = state["average"]
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
    transformer.train()
    text_encoder.train()
    with Progress(steps, "steps", done=first) as progress, stopping.deferred():
        for step in range(first, steps):
            # All chance of a step comes from its number, so a resumed run repeats it exactly.
            rng = torch.Generator().manual_seed(derive_seed(seed, "flow", step))
            chosen = torch.randint(len(latents), (batch_size,), generator=rng)
            kind = torch.randint(len(kinds), (batch_size,), generator=rng)
            dropped = (torch.rand(batch_size, generator=rng) < drop_text)[:, None]
            batch_tokens = torch.where(dropped, empty_tokens, all_tokens[kind, chosen])
            batch_mask = torch.where(dropped, empty_mask, all_masks[kind, chosen])
            data = latents[chosen]
            noise = torch.randn(data.shape, generator=rng)
            times = torch.randn(batch_size, generator=rng).sigmoid()
            t = times[:, None, None, None]
            predicted = velocity(
                transformer,
                text_encoder,
                (1 - t) * data + t * noise,
                times,
                batch_tokens,
                batch_mask,
            )
            loss = (predicted - (noise - data)).square().mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
            average.update(step)
            progress.update(note=f"loss {loss.item():.4f}")
            if checkpoint.due():
                checkpoint.save(
                    {
                        "step": step + 1,
                        "transformer": transformer.state_dict(),
                        "text_encoder": text_encoder.state_dict(),
                        "average": average.average,
                        "optimizer": optimizer.state_dict(),
                        "schedule": schedule.state_dict(),
                    }
                )
    average.copy_to_live()
    transformer.eval()
    text_encoder.eval()


def tokenize(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], length: int
) -> tuple[Tensor, Tensor]:
    """Return (tokens, mask), both int64 (n, length), as the PixArt pipeline makes them."""
    encoded = tokenizer(
        [prompt.lower().strip() for prompt in prompts],
        padding="max_length",
        max_length=length,
        truncation=True,
        return_tensors="pt",
    )
    return encoded["input_ids"], encoded["attention_mask"]


def train_pipeline(
    manifest: Manifest,
    captions: dict[str, str],
    settings: dict[str, Any],
    checkpoints: Sequence[Checkpoint],
) -> PixArtAlphaPipeline:
    """Train everything on one data set and return the pipeline.

    Latents of all images are held in memory, 4 bytes a value.

    Args:
        captions: caption by sample key; each image is learnt with its class name alone and with
            "[class name], [caption]", the two kinds of prompt of paper A. One that has no caption
            is learnt with its class name only.
        settings: as `synthgap.config.TrainedModel`.
        checkpoints: for the autoencoder, then for the flow model.
    """
    torch.set_num_threads(settings["threads"])
    seed = settings["seed"]
    torch.manual_seed(derive_seed(seed, "initial weights"))
    images = to_tensor(manifest.images())
    side, levels = images.shape[-1], len(settings["autoencoder_channels"])
    shrink = 2 ** (levels - 1)
    if side % shrink:
        raise UserError(
            f"trained_models: {levels} levels of autoencoder_channels need an image size that is "
            f"a multiple of {shrink}, not {side}"
        )
    vae = build_autoencoder(side, settings["autoencoder_channels"], settings["latent_channels"])
    names = manifest.table["class_name"].to_pylist()
    keys = manifest.table["key"].to_pylist()
    prompts = [
        describe("caption", name, captions.get(key)) or name
        for name, key in zip(names, keys, strict=True)
    ]
    tokenizer = make_tokenizer([*names, *prompts], settings["max_tokens"])
    text_encoder = build_text_encoder(tokenizer, settings["text_width"], settings["text_layers"])
    transformer = build_transformer(
        side // shrink,
        settings["latent_channels"],
        settings["width"],
        settings["layers"],
        settings["text_width"],
    )
    train_autoencoder(
        vae,
        images,
        steps=settings["autoencoder_steps"],
        batch_size=settings["autoencoder_batch_size"],
        learning_rate=settings["autoencoder_learning_rate"],
        seed=seed,
        checkpoint=checkpoints[0],
    )
    train_flow(
        transformer,
        text_encoder,
        encode(vae, images, batch_size=64),
        [tokenize(tokenizer, texts, settings["max_tokens"]) for texts in (names, prompts, [""])],
        steps=settings["steps"],
        batch_size=settings["batch_size"],
        learning_rate=settings["learning_rate"],
        ema_decay=settings["ema_decay"],
        drop_text=settings["drop_text"],
        seed=seed,
        checkpoint=checkpoints[1],
    )
    # A second-order solver of the flow: fewer steps than Euler's for the same quality.
    scheduler = DPMSolverMultistepScheduler(
        num_train_timesteps=TIMESTEPS,
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
        flow_shift=1.0,
    )
    return PixArtAlphaPipeline(
        tokenizer=tokenizer,
        text_encoder=text_encoder,
        vae=vae,
        transformer=transformer,
        scheduler=scheduler,
    )


def to_tensor(images: NDArray[np.uint8]) -> Tensor:
    """Turn uint8 (n, height, width, 3) into float32 (n, 3, height, width) in [-1, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
