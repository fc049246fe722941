"""Count what one image costs each text-to-image preset, in floating-point operations.

Each denoiser is built with its released architecture on torch's meta device, so no weights are
downloaded and no memory is used; its parameter count tells whether the architecture is the right
one. A multiplication and an addition count as two operations, as torch counts them. Text encoders
are left out: they run once an image, or once a prompt.

    python benchmarks/generator_flops.py --out benchmarks/results/generator_flops.json
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parent.parent
PRESETS = ROOT / "src/synthgap/config/presets.yaml"

# Only what differs from the class's own defaults, which for the newer classes are the released
# model's. `text` is the number of text tokens the denoiser sees: what the pipeline pads to, or,
# where it does not pad, PROMPT tokens.
PROMPT = 64
SDXL: dict[str, Any] = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": (5, 10, 20),
    "transformer_layers_per_block": (1, 2, 10),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
SD35_LARGE: dict[str, Any] = {
    "num_layers": 38,
    "num_attention_heads": 38,
    "caption_projection_dim": 2432,
    "pos_embed_max_size": 192,
    "qk_norm": "rms_norm",
}
CLIP_AND_T5 = 77 + 256
DENOISERS: dict[str, dict[str, Any]] = {
    "sd15": {
        "class": "UNet2DConditionModel",
        "config": {"sample_size": 64, "cross_attention_dim": 768},
        "text": 77,
        "vae": "sd",
    },
    "sd21": {
        "class": "UNet2DConditionModel",
        "config": {
            "sample_size": 96,
            "attention_head_dim": (5, 10, 20, 20),
            "cross_attention_dim": 1024,
            "use_linear_projection": True,
        },
        "text": 77,
        "vae": "sd",
    },
    "sdxl": {"class": "UNet2DConditionModel", "config": SDXL, "text": 77, "vae": "sd"},
    "sdxl-turbo": {"class": "UNet2DConditionModel", "config": SDXL, "text": 77, "vae": "sd"},
    "pixart": {
        "class": "PixArtTransformer2DModel",
        "config": {"sample_size": 128, "caption_channels": 4096},
        "text": 120,
        "vae": "sd",
    },
    "sd30": {
        "class": "SD3Transformer2DModel",
        "config": {
            "num_layers": 24,
            "num_attention_heads": 24,
            "caption_projection_dim": 1536,
            "pos_embed_max_size": 192,
        },
        "text": CLIP_AND_T5,
        "vae": "kl16",
    },
    "sd35": {
        "class": "SD3Transformer2DModel",
        "config": {
            "num_layers": 24,
            "num_attention_heads": 24,
            "caption_projection_dim": 1536,
            "pos_embed_max_size": 384,
            "dual_attention_layers": tuple(range(13)),
            "qk_norm": "rms_norm",
        },
        "text": CLIP_AND_T5,
        "vae": "kl16",
    },
    "sd35-large": {
        "class": "SD3Transformer2DModel",
        "config": SD35_LARGE,
        "text": CLIP_AND_T5,
        "vae": "kl16",
    },
    "sd35-turbo": {
        "class": "SD3Transformer2DModel",
        "config": SD35_LARGE,
        "text": CLIP_AND_T5,
        "vae": "kl16",
    },
    "flux-dev": {
        "class": "FluxTransformer2DModel",
        "config": {"guidance_embeds": True},
        "text": 512,
        "vae": "kl16",
    },
    "flux-schnell": {"class": "FluxTransformer2DModel", "config": {}, "text": 256, "vae": "kl16"},
    "sana": {"class": "SanaTransformer2DModel", "config": {}, "text": 300, "vae": "dc"},
    "lumina2": {
        "class": "Lumina2Transformer2DModel",
        "config": {"cap_feat_dim": 2304},
        "text": 256,
        "vae": "kl16",
    },
    "qwen": {"class": "QwenImageTransformer2DModel", "config": {}, "text": PROMPT, "vae": "qwen"},
    "qwen-2512": {
        "class": "QwenImageTransformer2DModel",
        "config": {},
        "text": PROMPT,
        "vae": "qwen",
    },
    "flux2-dev": {"class": "Flux2Transformer2DModel", "config": {}, "text": 512, "vae": "flux2"},
    "flux2-klein": {
        "class": "Flux2Transformer2DModel",
        "config": {
            "num_layers": 5,
            "num_single_layers": 20,
            "num_attention_heads": 24,
            "joint_attention_dim": 7680,
            "guidance_embeds": False,
        },
        "text": 512,
        "vae": "flux2",
    },
    "z-image-turbo": {
        "class": "ZImageTransformer2DModel",
        "config": {},
        "text": PROMPT,
        "vae": "kl16",
    },
    "z-image": {"class": "ZImageTransformer2DModel", "config": {}, "text": PROMPT, "vae": "kl16"},
    "ovis": {"class": "OvisImageTransformer2DModel", "config": {}, "text": 256, "vae": "kl16"},
}

_KL = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
}
AUTOENCODERS: dict[str, dict[str, Any]] = {
    "sd": {"class": "AutoencoderKL", "config": _KL, "latent": (4, 8)},
    "kl16": {
        "class": "AutoencoderKL",
        "config": {
            **_KL,
            "latent_channels": 16,
            "use_quant_conv": False,
            "use_post_quant_conv": False,
        },
        "latent": (16, 8),
    },
    "dc": {
        "class": "AutoencoderDC",
        "config": {
            "encoder_block_types": ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3,
            "decoder_block_types": ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3,
            "upsample_block_type": "interpolate",
            "downsample_block_type": "Conv",
        },
        "latent": (32, 32),
    },
    "qwen": {"class": "AutoencoderKLQwenImage", "config": {}, "latent": (16, 8)},
    "flux2": {"class": "AutoencoderKLFlux2", "config": {}, "latent": (32, 8)},
}


def build(name: str, config: dict[str, Any]) -> torch.nn.Module:
    """Return the model on the meta device; its precision does not change the count."""
    with torch.device("meta"):
        model: torch.nn.Module = getattr(diffusers, name)(**config)
    return model.eval()


def empty(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def denoiser_inputs(name: str, model: Any, side: int, text: int) -> dict[str, Any]:
    """Return the arguments of one forward for one image of `side` pixels."""
    config = model.config
    time = empty(1)
    latent = side // 8
    grid = side // 16  # of the transformers, which see patches of 2 x 2 latents
    tokens = grid * grid
    if name == "UNet2DConditionModel":
        added = {"text_embeds": empty(1, 1280), "time_ids": empty(1, 6)}
        return {
            "sample": empty(1, 4, latent, latent),
            "timestep": time,
            "encoder_hidden_states": empty(1, text, config.cross_attention_dim),
            "added_cond_kwargs": added if config.addition_embed_type else None,
        }
    if name == "PixArtTransformer2DModel":
        return {
            "hidden_states": empty(1, 4, latent, latent),
            "timestep": time,
            "encoder_hidden_states": empty(1, text, config.caption_channels),
            "added_cond_kwargs": {"resolution": empty(1, 2), "aspect_ratio": empty(1, 1)},
        }
    if name == "SD3Transformer2DModel":
        return {
            "hidden_states": empty(1, 16, latent, latent),
            "timestep": time,
            "encoder_hidden_states": empty(1, text, config.joint_attention_dim),
            "pooled_projections": empty(1, config.pooled_projection_dim),
        }
    if name == "SanaTransformer2DModel":
        return {
            "hidden_states": empty(1, 32, side // 32, side // 32),
            "timestep": time,
            "encoder_hidden_states": empty(1, text, config.caption_channels),
        }
    if name == "Lumina2Transformer2DModel":
        # It reads the number of text tokens off the mask, and a meta tensor holds no numbers.
        mask = torch.ones(1, text, dtype=torch.bool)
        model.rope_embedder.register_forward_pre_hook(lambda _, given: (given[0], mask))
        return {
            "hidden_states": empty(1, 16, latent, latent),
            "timestep": time,
            "encoder_hidden_states": empty(1, text, config.cap_feat_dim),
            "encoder_attention_mask": empty(1, text, dtype=torch.bool),
        }
    if name == "QwenImageTransformer2DModel":
        return {
            "hidden_states": empty(1, tokens, 64),
            "timestep": time,
            "encoder_hidden_states": empty(1, text, config.joint_attention_dim),
            "img_shapes": [[(1, grid, grid)]],
        }
    if name == "ZImageTransformer2DModel":
        return {
            "x": [empty(16, 1, latent, latent)],
            "t": time,
            "cap_feats": [empty(text, config.cap_feat_dim)],
        }
    # FLUX and its relatives
    axes = len(config.axes_dims_rope)
    inputs = {
        "hidden_states": empty(1, tokens, config.in_channels),
        "encoder_hidden_states": empty(1, text, config.joint_attention_dim),
        "timestep": time,
        "img_ids": empty(tokens, axes),
        "txt_ids": empty(text, axes),
    }
    if name == "FluxTransformer2DModel":
        inputs["pooled_projections"] = empty(1, config.pooled_projection_dim)
    if config.get("guidance_embeds"):
        inputs["guidance"] = empty(1)
    return inputs


def count(call: Callable[[], Any]) -> int:
    """Return the floating-point operations of one call."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


def decoder_flops(kind: str, side: int) -> int:
    """Return the operations of the autoencoder's decoder for one image."""
    entry = AUTOENCODERS[kind]
    model: Any = build(entry["class"], entry["config"])
    channels, factor = entry["latent"]
    frames = (1,) if kind == "qwen" else ()  # that one decodes videos
    latents = empty(1, channels, *frames, side // factor, side // factor)
    return count(lambda: model.decode(latents))


def forwards_per_step(preset: dict[str, Any], settings: dict[str, Any]) -> int:
    """Return 2 where classifier-free guidance is on, else 1."""
    scale = settings["guidance_scale"]
    if scale is None or preset["pipeline"] in ("FluxPipeline", "Flux2Pipeline"):
        return 1  # guidance is an input of the network there, or is distilled into it
    threshold = 0 if preset["pipeline"] == "ZImagePipeline" else 1
    return 2 if scale > threshold else 1


def measure(name: str, preset: dict[str, Any]) -> dict[str, Any]:
    """Return the counts of one preset with its authors' settings."""
    entry = DENOISERS[name]
    settings = preset["settings"]["authors"]
    side, steps = settings["image_size"], settings["steps"]
    model = build(entry["class"], entry["config"])
    inputs = denoiser_inputs(entry["class"], model, side, entry["text"])
    forward = count(lambda: model(**inputs))
    decoder = decoder_flops(entry["vae"], side)
    forwards = forwards_per_step(preset, settings)
    return {
        "denoiser": entry["class"],
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "image_size": side,
        "text_tokens": entry["text"],
        "steps": steps,
        "forwards_per_step": forwards,
        "flops_per_forward": forward,
        "flops_of_decoder": decoder,
        "flops_per_image": forward * forwards * steps + decoder,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--presets", type=Path, default=PRESETS, help="the presets file")
    parser.add_argument("--only", nargs="*", help="names of presets; all of them by default")
    parser.add_argument("--out", type=Path, help="where to write the counts as JSON")
    options = parser.parse_args()

    presets = yaml.safe_load(options.presets.read_text())
    results: dict[str, Any] = {}
    print(f"{'preset':14} {'parameters':>15} {'px':>5} {'TFLOP/forward':>14} {'PFLOP/image':>12}")
    for name in options.only or presets:
        if name not in DENOISERS:
            print(f"{name:14} left out: its architecture is not in this script", file=sys.stderr)
            continue
        start = time.perf_counter()
        row = measure(name, presets[name])
        results[name] = row
        print(
            f"{name:14} {row['parameters']:15,} {row['image_size']:5} "
            f"{row['flops_per_forward'] / 1e12:14.3f} {row['flops_per_image'] / 1e15:12.4f}"
            f"   ({time.perf_counter() - start:.1f} s)"
        )
        stated = presets[name]["parameters"]
        if stated != row["parameters"]:
            print(f"{name:14} the presets file says {stated:,} parameters", file=sys.stderr)
    if options.out:
        facts = {
            "torch": torch.__version__,
            "diffusers": diffusers.__version__,
            "settings": "authors",
            "presets": results,
        }
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
