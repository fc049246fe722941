"""Pipelines of trained denoisers: what another training goes on from, and models before the end."""

from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline

from synthgap.diffusion.autoencoder import build_autoencoder
from synthgap.diffusion.dit import DiTI
from synthgap.diffusion.encoded import Latents, write_latents
from synthgap.diffusion.objectives import OBJECTIVES
from synthgap.diffusion.text_to_image import (
    assemble,
    build_denoiser,
    build_text_encoder,
    continue_from,
    lay_out_snapshots,
)
from synthgap.diffusion.tokenizer import make_tokenizer
from synthgap.errors import UserError

DIT = {"kind": "dit-i", "patch_size": 2, "width": 32, "layers": 1, "heads": 2, "text_heads": 2}
CAD = {"kind": "cad-i", "patch_size": 2, "width": 32, "heads": 2, "text_heads": 2}
CAD |= {"num_latents": 6, "data_width": 16, "num_blocks": 1, "layers": 1, "interface_heads": 2}
SIZES = {"latents": (4, 8, 8), "text_width": 16, "crop_tokens": False, "seed": 0}
LARGER = SIZES | {"latents": (4, 16, 16), "seed": 1}
BOTH = pytest.mark.parametrize("settings", [DIT, CAD], ids=["dit-i", "cad-i"])


def predict(model: torch.nn.Module, side: int) -> torch.Tensor:
    rng = torch.Generator().manual_seed(1)
    latents = torch.randn(2, 4, side, side, generator=rng)
    text = torch.randn(2, 5, 16, generator=rng)
    with torch.no_grad():
        predicted: torch.Tensor = model.eval()(latents, text, torch.tensor([9.0, 900.0]))[0]
    return predicted


def saved(settings: dict[str, object], folder: Path) -> torch.nn.Module:
    """A model whose parts all count, saved as a pipeline's."""
    model = build_denoiser(settings, **SIZES)
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.5)
    model.save_pretrained(folder / "transformer")
    return model


@BOTH
def test_training_goes_on_from_another_model_at_a_larger_size(settings, tmp_path):
    smaller = saved(settings, tmp_path)
    larger = continue_from(tmp_path, settings, **LARGER)
    weights = smaller.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in larger.state_dict().items())
    assert larger.config.sample_size == 16
    # It sees what the model it began as sees in such images, and so do its own successors.
    assert torch.equal(predict(larger, 16), predict(smaller, 16))
    larger.save_pretrained(tmp_path / "second" / "transformer")
    again = continue_from(tmp_path / "second", settings, **(LARGER | {"latents": (4, 32, 32)}))
    assert torch.equal(predict(again, 16), predict(smaller, 16))
    loaded = type(larger).from_pretrained(tmp_path / "second" / "transformer")
    assert torch.equal(predict(loaded, 16), predict(larger, 16))


@BOTH
def test_crops_can_be_learnt_from_later(settings, tmp_path):
    first = saved(settings, tmp_path)
    second = continue_from(tmp_path, settings, **(SIZES | {"crop_tokens": True}))
    new = set(second.state_dict()) - set(first.state_dict())
    assert new
    assert all(name.startswith("text.crop.") for name in new)


@pytest.mark.parametrize(
    ("settings", "sizes", "told"),
    [
        (CAD, {}, "DiTI, not a CADI"),
        (DIT | {"width": 64}, {}, "width is 32 there and 64 here"),
        (DIT, {"text_width": 32}, "text_width is 16 there and 32 here"),
        (DIT, {"latents": (8, 8, 8)}, "in_channels is 4 there and 8 here"),
    ],
)
def test_what_does_not_fit_is_refused(settings, sizes, told, tmp_path):
    saved(DIT, tmp_path)
    with pytest.raises(UserError, match=told):
        continue_from(tmp_path, settings, **(SIZES | sizes))


def test_a_folder_without_a_denoiser_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no config\.json"):
        continue_from(tmp_path, DIT, **SIZES)


def test_models_before_the_end_are_pipelines_too(tmp_path):
    tokenizer = make_tokenizer(["a small seven"], 8)
    last = build_denoiser(DIT, **SIZES)
    pipeline = assemble(
        last,
        OBJECTIVES["flow"](),
        build_autoencoder(16, [4, 4], 4).eval(),
        tokenizer,
        build_text_encoder(tokenizer, 16, 1).eval(),
    )
    pipeline.save_pretrained(tmp_path / "model", safe_serialization=True)
    first = build_denoiser(DIT, **(SIZES | {"seed": 5}))
    first.save_pretrained(tmp_path / "kept" / "20")
    lay_out_snapshots(tmp_path / "model", tmp_path / "kept", tmp_path / "laid-out")
    loaded = DiffusionPipeline.from_pretrained(tmp_path / "laid-out" / "20")
    kept, end = loaded.transformer.state_dict(), last.state_dict()
    assert all(torch.equal(kept[name], value) for name, value in first.state_dict().items())
    assert any(not torch.equal(kept[name], value) for name, value in end.items())
    assert loaded.vae.state_dict().keys() == pipeline.vae.state_dict().keys()


@pytest.mark.parametrize("name", ["epsilon", "flow"])
def test_a_denoiser_that_knows_the_image_samples_it(name, tmp_path):
    """Levels of noise, targets and the latents' scale are the same in training and sampling."""
    torch.manual_seed(0)
    vae = build_autoencoder(16, [8, 8], 4).eval()
    # The pipeline decodes without the shift that some autoencoders have.
    vae.register_to_config(scaling_factor=0.7, shift_factor=0.6)
    mean = torch.randn(1, 4, 8, 8)
    write_latents(tmp_path / "a.safetensors", ["a"], mean, torch.zeros_like(mean))
    clean = Latents([tmp_path / "a.safetensors"], vae.config.scaling_factor).read(0, None)[None]
    objective = OBJECTIVES[name]()

    class Knowing(DiTI):
        def forward(self, hidden_states, *, timestep, **_):
            nothing = torch.zeros_like(clean)
            share = objective.noisy(clean, nothing, timestep[:1])
            level = objective.noisy(nothing, torch.ones_like(clean), timestep[:1])
            noise = (hidden_states - share) / level
            return (objective.target(clean, noise),)

    denoiser = Knowing(sample_size=8, patch_size=1, width=8, layers=1, heads=1, text_width=8,
                       text_layers=0, text_heads=1)  # fmt: skip
    pipeline = assemble(denoiser, objective, vae, None, None)
    pipeline.set_progress_bar_config(disable=True)
    words, seen = torch.zeros(1, 1, 8), torch.ones(1, 1)
    [image] = pipeline(
        prompt_embeds=words, prompt_attention_mask=seen, negative_prompt=None,
        num_inference_steps=10, guidance_scale=1.0, height=16, width=16, output_type="pt",
        use_resolution_binning=False, generator=torch.Generator().manual_seed(0),
    ).images  # fmt: skip
    with torch.no_grad():
        wanted = vae.decode(mean).sample[0] / 2 + 0.5
    assert (image - wanted.clamp(0, 1)).abs().max() < 0.02
