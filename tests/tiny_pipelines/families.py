"""A function for each pipeline class, and which preset is which."""

from collections.abc import Callable
from functools import partial
from typing import Any

import diffusers
import transformers
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker

from tiny_pipelines.parts import (
    SCALED_LINEAR,
    SIDE,
    autoencoder,
    autoencoder_levels,
    clip,
    flow,
    flow_by_size,
    gemma,
    mistral,
    qwen_3,
    qwen_vl,
    strengthen,
    t5,
)
from tiny_pipelines.tokenizers import (
    CHATML,
    clip_tokenizer,
    gemma_tokenizer,
    mistral_processor,
    qwen_tokenizer,
    t5_tokenizer,
)


def unet(cross: int, **options: Any) -> diffusers.UNet2DConditionModel:
    """The U-Net of Stable Diffusion 1 and 2 and of SDXL; `cross` is the width of its text."""
    return diffusers.UNet2DConditionModel(
        sample_size=SIDE // 8,
        block_out_channels=[8, 16],
        down_block_types=["DownBlock2D", "CrossAttnDownBlock2D"],
        up_block_types=["CrossAttnUpBlock2D", "UpBlock2D"],
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=cross,
        **{"attention_head_dim": 2, **options},
    )


def stable_diffusion_1() -> diffusers.DiffusionPipeline:
    tokenizer = clip_tokenizer()
    return diffusers.StableDiffusionPipeline(
        vae=autoencoder(),
        text_encoder=clip(tokenizer),
        tokenizer=tokenizer,
        unet=unet(cross=16),
        scheduler=diffusers.PNDMScheduler(**SCALED_LINEAR, skip_prk_steps=True, steps_offset=1),
        safety_checker=safety_checker(),
        feature_extractor=transformers.CLIPImageProcessor(
            size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
        ),
    )


def safety_checker() -> StableDiffusionSafetyChecker:
    """An untrained checker: its thresholds are cosines of 1, so it refuses nothing."""
    sizes = {
        "hidden_size": 16, "intermediate_size": 32, "projection_dim": 8,
        "num_hidden_layers": 1, "num_attention_heads": 2,
    }  # fmt: skip
    return StableDiffusionSafetyChecker(
        transformers.CLIPConfig(
            vision_config={**sizes, "image_size": 32, "patch_size": 16},
            text_config={**sizes, "vocab_size": 8, "bos_token_id": 0, "eos_token_id": 1},
            projection_dim=8,
        )
    )


def stable_diffusion_2() -> diffusers.DiffusionPipeline:
    tokenizer = clip_tokenizer(pad="!")
    return diffusers.StableDiffusionPipeline(
        vae=autoencoder(),
        text_encoder=clip(tokenizer, act="gelu"),
        tokenizer=tokenizer,
        unet=unet(cross=16, use_linear_projection=True, attention_head_dim=[1, 2]),
        scheduler=diffusers.DDIMScheduler(
            **SCALED_LINEAR,
            prediction_type="v_prediction",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def stable_diffusion_xl(scheduler: Callable[[], Any]) -> diffusers.DiffusionPipeline:
    tokenizer, tokenizer_2 = clip_tokenizer(), clip_tokenizer(pad="!")
    return diffusers.StableDiffusionXLPipeline(
        vae=autoencoder(scale=0.13025),
        text_encoder=clip(tokenizer, 16),
        tokenizer=tokenizer,
        text_encoder_2=clip(tokenizer_2, 24, project=True, act="gelu"),
        tokenizer_2=tokenizer_2,
        unet=unet(
            cross=16 + 24,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + 24,
        ),
        scheduler=scheduler(),
    )


def stable_diffusion_3(shift: float = 3.0, **version: Any) -> diffusers.DiffusionPipeline:
    tokenizer, tokenizer_3 = clip_tokenizer(), t5_tokenizer()
    tokenizer_2 = clip_tokenizer(pad="!")
    return diffusers.StableDiffusion3Pipeline(
        scheduler=flow(shift),
        vae=autoencoder(16, 1.5305, 0.0609),
        text_encoder=clip(tokenizer, 16, project=True),
        tokenizer=tokenizer,
        text_encoder_2=clip(tokenizer_2, 24, project=True, act="gelu"),
        tokenizer_2=tokenizer_2,
        text_encoder_3=t5(tokenizer_3, 48),  # wider than the CLIP texts, which are filled up
        tokenizer_3=tokenizer_3,
        transformer=diffusers.SD3Transformer2DModel(
            sample_size=SIDE // 8,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=48,
            caption_projection_dim=16,
            pooled_projection_dim=16 + 24,
            pos_embed_max_size=SIDE // 8,
            **version,
        ),
    )


def flux(guidance_embeds: bool, scheduler: Callable[[], Any]) -> diffusers.DiffusionPipeline:
    tokenizer, tokenizer_2 = clip_tokenizer(), t5_tokenizer()
    return diffusers.FluxPipeline(
        scheduler=scheduler(),
        vae=autoencoder(16, 0.3611, 0.1159),
        text_encoder=clip(tokenizer),
        tokenizer=tokenizer,
        text_encoder_2=t5(tokenizer_2),
        tokenizer_2=tokenizer_2,
        transformer=diffusers.FluxTransformer2DModel(
            in_channels=64,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            pooled_projection_dim=16,
            guidance_embeds=guidance_embeds,
            axes_dims_rope=(4, 6, 6),
        ),
    )


def pixart() -> diffusers.DiffusionPipeline:
    tokenizer = t5_tokenizer()
    return diffusers.PixArtAlphaPipeline(
        tokenizer=tokenizer,
        text_encoder=t5(tokenizer),
        vae=autoencoder(),
        transformer=diffusers.PixArtTransformer2DModel(
            sample_size=128,  # of the model for 1024 pixels, which is also told size and aspect
            in_channels=4,
            out_channels=8,  # it also predicts the variance, which the pipeline drops
            num_layers=2,
            num_attention_heads=3,
            attention_head_dim=8,
            cross_attention_dim=24,
            caption_channels=16,
        ),
        scheduler=diffusers.DPMSolverMultistepScheduler(beta_start=0.0001, beta_end=0.02),
    )


def qwen_image() -> diffusers.DiffusionPipeline:
    tokenizer = qwen_tokenizer(CHATML)
    vae = diffusers.AutoencoderKLQwenImage(base_dim=8, dim_mult=[1, 1, 1, 1], num_res_blocks=1)
    strengthen(vae.decoder.conv_out, 4.0)  # its images would be almost grey
    return diffusers.QwenImagePipeline(
        scheduler=flow_by_size(
            shift=1.0, max_shift=0.9, max_image_seq_len=8192, shift_terminal=0.02
        ),
        vae=vae,
        text_encoder=qwen_vl(tokenizer),
        tokenizer=tokenizer,
        transformer=diffusers.QwenImageTransformer2DModel(
            in_channels=64,
            num_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            axes_dims_rope=(4, 6, 6),
        ),
    )


def sana() -> diffusers.DiffusionPipeline:
    tokenizer = gemma_tokenizer()
    channels, layers = [8, 8, 8, 8, 16, 16], [1] * 6
    return diffusers.SanaPipeline(
        tokenizer=tokenizer,
        text_encoder=gemma(tokenizer),
        vae=diffusers.AutoencoderDC(  # 32 pixels to a latent
            latent_channels=8,  # divides the last width, else the decoder fails
            attention_head_dim=8,
            encoder_block_types=["ResBlock"] * 3 + ["EfficientViTBlock"] * 3,
            decoder_block_types=["ResBlock"] * 3 + ["EfficientViTBlock"] * 3,
            encoder_block_out_channels=channels,
            decoder_block_out_channels=channels,
            encoder_layers_per_block=layers,
            decoder_layers_per_block=layers,
            downsample_block_type="conv",
            upsample_block_type="interpolate",
            scaling_factor=0.41407,
        ),
        transformer=diffusers.SanaTransformer2DModel(
            in_channels=8,
            out_channels=8,
            num_attention_heads=2,
            attention_head_dim=8,
            num_layers=2,
            num_cross_attention_heads=2,
            cross_attention_head_dim=8,
            cross_attention_dim=16,
            caption_channels=16,
            sample_size=SIDE // 32,
        ),
        scheduler=diffusers.DPMSolverMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
    )


def lumina_2() -> diffusers.DiffusionPipeline:
    tokenizer = gemma_tokenizer()
    return diffusers.Lumina2Pipeline(
        transformer=diffusers.Lumina2Transformer2DModel(
            sample_size=SIDE // 8,
            hidden_size=24,
            num_layers=2,
            num_refiner_layers=1,
            num_attention_heads=3,
            num_kv_heads=1,
            multiple_of=8,
            axes_dim_rope=(4, 2, 2),
            axes_lens=(512, 64, 64),  # of text, rows and columns: longer ones fail
            cap_feat_dim=16,
        ),
        scheduler=flow(6.0),
        vae=autoencoder(16, 0.3611, 0.1159),
        text_encoder=gemma(tokenizer),
        tokenizer=tokenizer,
    )


def flux_2() -> diffusers.DiffusionPipeline:
    processor = mistral_processor()
    return diffusers.Flux2Pipeline(
        scheduler=flow_by_size(),
        vae=flux_2_autoencoder(),
        text_encoder=mistral(processor.tokenizer),
        tokenizer=processor,
        transformer=flux_2_transformer(guidance_embeds=True),
    )


def flux_2_klein() -> diffusers.DiffusionPipeline:
    tokenizer = qwen_tokenizer()
    return diffusers.Flux2KleinPipeline(
        scheduler=flow_by_size(),
        vae=flux_2_autoencoder(),
        # The prompt is read from layers 9, 18 and 27.
        text_encoder=transformers.Qwen3ForCausalLM(qwen_3(tokenizer, layers=28)),
        tokenizer=tokenizer,
        transformer=flux_2_transformer(guidance_embeds=False),
        is_distilled=True,
    )


def flux_2_autoencoder() -> diffusers.AutoencoderKLFlux2:
    return diffusers.AutoencoderKLFlux2(**autoencoder_levels(), latent_channels=16)


def flux_2_transformer(guidance_embeds: bool) -> diffusers.Flux2Transformer2DModel:
    return diffusers.Flux2Transformer2DModel(
        in_channels=64,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=3 * 16,  # three layers of the text encoder side by side
        timestep_guidance_channels=16,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=guidance_embeds,
    )


def z_image(shift: float) -> diffusers.DiffusionPipeline:
    tokenizer = qwen_tokenizer()
    return diffusers.ZImagePipeline(
        scheduler=flow(shift),
        vae=autoencoder(16, 0.3611, 0.1159),
        text_encoder=transformers.Qwen3Model(qwen_3(tokenizer, layers=2)),
        tokenizer=tokenizer,
        transformer=diffusers.ZImageTransformer2DModel(
            dim=32,
            n_layers=1,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
            cap_feat_dim=16,
            axes_dims=[8, 4, 4],
            axes_lens=[1024, 64, 64],  # of text and image, rows and columns: longer ones fail
        ),
    )


def ovis_image() -> diffusers.DiffusionPipeline:
    tokenizer = qwen_tokenizer()
    return diffusers.OvisImagePipeline(
        scheduler=flow_by_size(),
        vae=autoencoder(16, 0.3611, 0.1159),
        text_encoder=transformers.Qwen3Model(qwen_3(tokenizer, layers=2)),
        tokenizer=tokenizer,
        transformer=diffusers.OvisImageTransformer2DModel(
            in_channels=64,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            axes_dims_rope=(4, 6, 6),
        ),
    )


EULER = {**SCALED_LINEAR, "steps_offset": 1}
BUILDERS: dict[str, Callable[[], diffusers.DiffusionPipeline]] = {
    "sd15": stable_diffusion_1,
    "sd21": stable_diffusion_2,
    "sdxl": partial(
        stable_diffusion_xl,
        partial(diffusers.EulerDiscreteScheduler, **EULER, timestep_spacing="leading"),
    ),
    "sdxl-turbo": partial(
        stable_diffusion_xl,
        partial(diffusers.EulerAncestralDiscreteScheduler, **EULER, timestep_spacing="trailing"),
    ),
    "sd30": stable_diffusion_3,
    "sd35": partial(stable_diffusion_3, qk_norm="rms_norm", dual_attention_layers=(0,)),
    "sd35-large": partial(stable_diffusion_3, qk_norm="rms_norm"),
    "sd35-turbo": partial(stable_diffusion_3, qk_norm="rms_norm"),
    "flux-dev": partial(flux, True, flow_by_size),
    "flux-schnell": partial(flux, False, flow),
    "sana": sana,
    "pixart": pixart,
    "lumina2": lumina_2,
    "qwen": qwen_image,
    "qwen-2512": qwen_image,
    "flux2-dev": flux_2,
    "flux2-klein": flux_2_klein,
    "z-image-turbo": partial(z_image, 3.0),
    "z-image": partial(z_image, 6.0),
    "ovis": ovis_image,
}
