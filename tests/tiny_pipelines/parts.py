"""Text encoders, autoencoders and schedulers, which families share."""

from typing import Any

import diffusers
import torch
import transformers
from transformers import PreTrainedTokenizerBase

SIDE = 64  # pixels of a tiny image; the smallest side that all families take is 32

# Text encoders start ten times as large as usual: otherwise untrained texts are so alike that a
# mistake in the prompts would not show in the images.
WIDE_START = {"initializer_range": 0.2}


def clip(
    tokenizer: PreTrainedTokenizerBase,
    width: int = 16,
    *,
    project: bool = False,
    act: str = "quick_gelu",
) -> transformers.PreTrainedModel:
    """CLIP's text half."""
    config = transformers.CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=77,
        hidden_act=act,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **WIDE_START,
    )
    model = transformers.CLIPTextModelWithProjection if project else transformers.CLIPTextModel
    return model(config)


def t5(tokenizer: PreTrainedTokenizerBase, width: int = 16) -> transformers.T5EncoderModel:
    """T5's encoder."""
    return transformers.T5EncoderModel(
        transformers.T5Config(
            vocab_size=len(tokenizer),
            d_model=width,
            d_kv=8,
            d_ff=2 * width,
            num_layers=2,
            num_heads=2,
            feed_forward_proj="gated-gelu",
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


def decoder_sizes(tokenizer: PreTrainedTokenizerBase, layers: int = 2) -> dict[str, Any]:
    """Settings that the configs of Gemma, Qwen and Mistral share: width 16."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        **WIDE_START,
    }


def gemma(tokenizer: PreTrainedTokenizerBase) -> transformers.Gemma2Model:
    """Gemma 2, without the head that predicts tokens."""
    return transformers.Gemma2Model(
        transformers.Gemma2Config(**decoder_sizes(tokenizer), query_pre_attn_scalar=8)
    )


def qwen_vl(tokenizer: PreTrainedTokenizerBase) -> transformers.PreTrainedModel:
    """Qwen2.5-VL, of which generation uses the text half only."""
    sizes = decoder_sizes(tokenizer)
    sizes["bos_token_id"] = sizes["eos_token_id"]  # else its default, outside this vocabulary
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [1, 1, 2]}
    image, video = tokenizer.convert_tokens_to_ids(["<|image_pad|>", "<|video_pad|>"])
    return transformers.Qwen2_5_VLForConditionalGeneration(
        transformers.Qwen2_5_VLConfig(
            text_config={**sizes, "rope_parameters": rope},
            vision_config={
                "depth": 1, "hidden_size": 16, "intermediate_size": 32, "num_heads": 2,
                "out_hidden_size": 16, "fullatt_block_indexes": [0],
            },
            image_token_id=image,
            video_token_id=video,
        )
    )  # fmt: skip


def qwen_3(tokenizer: PreTrainedTokenizerBase, layers: int) -> transformers.Qwen3Config:
    """Settings of Qwen3; pipelines differ in whether they hold its head."""
    return transformers.Qwen3Config(**decoder_sizes(tokenizer, layers))


def mistral(tokenizer: PreTrainedTokenizerBase) -> transformers.PreTrainedModel:
    """Mistral Small 3, of which generation reads the text's layers 10, 20 and 30."""
    sizes = decoder_sizes(tokenizer, layers=31)
    return transformers.Mistral3ForConditionalGeneration(
        transformers.Mistral3Config(
            text_config={**sizes, "model_type": "mistral"},
            vision_config={
                "model_type": "pixtral", "hidden_size": 16, "intermediate_size": 32,
                "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32,
                "patch_size": 16, "head_dim": 8,
            },
            image_token_index=tokenizer.convert_tokens_to_ids("[IMG]"),
        )
    )  # fmt: skip


def autoencoder(
    latents: int = 4, scale: float = 0.18215, shift: float | None = None
) -> diffusers.AutoencoderKL:
    """The autoencoder of most families; those since SD3 have a shift and lack two convolutions."""
    return diffusers.AutoencoderKL(
        **autoencoder_levels(),
        latent_channels=latents,
        scaling_factor=scale,
        shift_factor=shift,
        use_quant_conv=shift is None,
        use_post_quant_conv=shift is None,
    )


def autoencoder_levels() -> dict[str, Any]:
    """8 pixels to a latent, in four levels of 8 channels."""
    return {
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "block_out_channels": [8] * 4,
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "sample_size": SIDE,
    }


# The noise schedule of Stable Diffusion 1 and 2 and of SDXL.
SCALED_LINEAR = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


def flow(shift: float = 1.0, **options: Any) -> diffusers.FlowMatchEulerDiscreteScheduler:
    """Euler steps of a flow; `shift` above 1 spends more of them where the noise is strong."""
    return diffusers.FlowMatchEulerDiscreteScheduler(shift=shift, **options)


def flow_by_size(shift: float = 3.0, **options: Any) -> diffusers.FlowMatchEulerDiscreteScheduler:
    """Shift the times by the image's size, as Flux and its successors do."""
    return flow(shift, **{"use_dynamic_shifting": True, "max_shift": 1.15, **options})


@torch.no_grad()
def strengthen(model: torch.nn.Module, factor: float) -> None:
    """Multiply a model's weights, but not its biases and norms.

    An untrained denoiser hardly listens to the text. At twice its weights another prompt moves
    the image's values, which are in [0, 1], by 0.001 to 0.16 on average; at three times, some
    families multiply rounding errors from step to step.
    """
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.mul_(factor)
