"""The denoisers of paper B: DiT-I and CAD-I."""

from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, DiffusionPipeline, PixArtAlphaPipeline
from torch import Tensor

from synthgap.diffusion.autoencoder import build_autoencoder
from synthgap.diffusion.cad import CADI
from synthgap.diffusion.dit import DiTI
from synthgap.diffusion.layers import crop_mask, from_patches, grid_positions, to_patches
from synthgap.diffusion.text_to_image import build_text_encoder
from synthgap.diffusion.tokenizer import make_tokenizer

SMALL = {"sample_size": 8, "width": 32, "heads": 2, "text_width": 16, "text_heads": 2}
TINY = {
    DiTI: SMALL | {"layers": 2},
    CADI: SMALL
    | {"num_latents": 6, "data_width": 16, "num_blocks": 2, "layers": 1}
    | {"interface_heads": 2},
}
BOTH = pytest.mark.parametrize("kind", list(TINY), ids=lambda kind: kind.__name__)


def tiny(kind: type, **options: object) -> torch.nn.Module:
    """A small denoiser whose parts all count: nothing starts at zero."""
    torch.manual_seed(0)
    model = kind(**TINY[kind] | options)
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.5)
    return model.eval()


def inputs(count: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(1)
    latents = torch.randn(count, 4, 8, 8, generator=rng)
    text = torch.randn(count, 5, 16, generator=rng)
    mask = torch.arange(5) < torch.tensor([[5], [3], [1]])[:count]
    return latents, text, torch.tensor([900.0, 500.0, 20.0])[:count], mask


@pytest.mark.parametrize(
    ("kind", "least", "most"), [(DiTI, 0.35e9, 0.45e9), (CADI, 0.25e9, 0.35e9)]
)
def test_sizes_are_the_papers(kind, least, most):
    with torch.device("meta"):
        model = kind()
    assert least < sum(parameter.numel() for parameter in model.parameters()) < most


@BOTH
def test_predictions_are_of_one_image_alone(kind):
    latents, text, times, mask = inputs()
    together = tiny(kind)(latents, text, times, mask, return_dict=False)[0]
    assert together.shape == latents.shape
    for i in range(3):
        one = slice(i, i + 1)
        # Padding may be cut, too.
        words = int(mask[i].sum())
        alone = tiny(kind)(latents[one], text[one, :words], times[one], return_dict=False)[0]
        torch.testing.assert_close(alone, together[one], rtol=1e-4, atol=1e-5)


@BOTH
def test_text_and_time_count(kind):
    latents, text, times, mask = inputs()
    model = tiny(kind).train()
    plain = model(latents, text, times, mask, return_dict=False)[0]
    assert not torch.allclose(plain, model(latents, text + 1, times, mask, return_dict=False)[0])
    assert not torch.allclose(plain, model(latents, text, times / 2, mask, return_dict=False)[0])


@BOTH
def test_what_is_outside_a_crop_has_no_part(kind):
    latents, text, times, mask = inputs()
    latents.requires_grad_()
    model = tiny(kind, crop_tokens=True).train()
    crop = torch.tensor([[0.25, 0.25, 0.5, 0.75], [0.0, 0.0, 1.0, 1.0], [0.5, 0.0, 0.5, 0.5]])
    predicted = model(latents, text, times, mask, crop=crop, return_dict=False)[0]
    inside = crop_mask(crop, 4, 4)[:, None, :].expand(-1, 4 * 4, -1)
    pixels = from_patches(inside.transpose(1, 2).float(), 2, 8, 8).bool()
    assert pixels.any()
    assert not pixels.all()
    predicted[pixels].square().sum().backward()
    assert (latents.grad[~pixels] == 0).all()
    assert (latents.grad[pixels] != 0).all()


@BOTH
def test_a_crop_of_everything_is_no_crop(kind):
    latents, text, times, mask = inputs()
    model = tiny(kind, crop_tokens=True).train()
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).expand(3, 4)
    cropped = model(latents, text, times, mask, crop=whole, return_dict=False)[0]
    plain = model(latents, text, times, mask, return_dict=False)[0]
    torch.testing.assert_close(cropped, plain, rtol=1e-4, atol=1e-5)
    moved = model(latents, text, times, mask, crop=whole * 0.5, return_dict=False)[0]
    assert not torch.allclose(moved, plain)


@BOTH
@pytest.mark.parametrize("size", [12, 16])
def test_other_resolutions_work(kind, size):
    _, text, times, mask = inputs()
    larger = torch.randn(3, 4, size, size + 4)
    predicted = tiny(kind)(larger, text, times, mask, return_dict=False)[0]
    assert predicted.shape == larger.shape
    assert predicted.isfinite().all()


def test_positions_span_the_same_at_any_resolution():
    small, large = grid_positions(32, 4, 4, base=4), grid_positions(32, 8, 8, base=4)
    torch.testing.assert_close(large.unflatten(0, (8, 8))[::2, ::2].flatten(0, 1), small)


def test_patches_come_together_again():
    images = torch.randn(2, 3, 8, 12)
    patches = to_patches(images, 2)
    assert patches.shape == (2, 24, 12)
    assert torch.equal(patches[0, 1].unflatten(0, (3, 2, 2)), images[0, :, :2, 2:4])
    assert torch.equal(from_patches(patches, 2, 8, 12), images)


def test_crops_hold_whole_patches():
    crop = torch.tensor([[0.25, 0.0, 0.5, 0.5], [0.3, 0.0, 0.5, 1.0]])
    first, second = crop_mask(crop, 4, 4).unflatten(1, (4, 4))
    assert first.nonzero().tolist() == [[1, 0], [1, 1], [2, 0], [2, 1]]
    assert second.any(1).tolist() == [False, False, True, False]  # 1.2 to 3.2 patches


def test_cad_goes_on_from_the_step_before_and_begins_anew():
    latents, text, _, mask = inputs()
    model = tiny(CADI)

    def at(time: float, model: torch.nn.Module = model, count: int = 3) -> Tensor:
        times = torch.full((count,), time)
        return model(latents[:count], text[:count], times, mask[:count], return_dict=False)[0]

    with torch.no_grad():
        first, second, third = at(900), at(600), at(300)
        fresh = tiny(CADI)
        assert torch.equal(at(600, fresh), at(600, fresh))
        assert not torch.equal(at(600, fresh), second)
        given = tiny(CADI)
        kept = given(latents, text, torch.full((3,), 900.0), mask).latents
        again = given(latents, text, torch.full((3,), 600.0), mask, previous=kept).sample
        torch.testing.assert_close(again, second)
        # The next images: the same as the ones before, whatever came in between.
        assert torch.equal(at(900), first)
        assert torch.equal(at(600), second)
        assert torch.equal(at(300), third)
        fewer = at(100, count=2)
        assert torch.equal(fewer, at(100, tiny(CADI), count=2))


@BOTH
def test_a_stock_pipeline_saves_loads_and_samples(kind, tmp_path: Path):
    torch.manual_seed(0)
    tokenizer = make_tokenizer(["a small seven", "a large one"], 8)
    pipeline = PixArtAlphaPipeline(
        tokenizer=tokenizer,
        text_encoder=build_text_encoder(tokenizer, 16, 1).eval(),
        vae=build_autoencoder(16, [4, 4], 4).eval(),
        transformer=tiny(kind),
        scheduler=DDIMScheduler(),
    )
    pipeline.save_pretrained(tmp_path / "model", safe_serialization=True)
    loaded = DiffusionPipeline.from_pretrained(tmp_path / "model")
    assert type(loaded.transformer) is kind
    images = []
    for one in (pipeline, loaded, loaded):
        one.set_progress_bar_config(disable=True)
        images.append(
            one(
                ["a small seven", "a large one"],
                num_inference_steps=3,
                guidance_scale=3.0,
                height=16,
                width=16,
                max_sequence_length=8,
                clean_caption=False,
                use_resolution_binning=False,
                generator=[torch.Generator().manual_seed(i) for i in range(2)],
                output_type="pt",
            ).images
        )
    assert torch.equal(images[0], images[1])
    assert torch.equal(images[1], images[2])
    assert not torch.allclose(images[0][0], images[0][1])
