"""The tiny pipelines that other tests use (`test_families.py` generates with them)."""

import pytest
import torch
from diffusers import DiffusionPipeline

from tiny_pipelines import PRESETS, build

GOLDFISH = "a photo of a goldfish"


@pytest.fixture
def loaded(tiny_pipeline):
    def load(preset):
        pipeline = DiffusionPipeline.from_pretrained(tiny_pipeline(preset))
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    return load


@pytest.mark.parametrize("preset", PRESETS)
def test_folders_are_small_and_hold_safetensors_only(preset, tiny_pipeline):
    files = [path for path in tiny_pipeline(preset).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 2e6
    assert not [path for path in files if path.suffix == ".bin"]


@pytest.mark.parametrize("preset", ["sd15", "sd35", "qwen", "flux2-dev"])
def test_building_again_gives_the_same_bytes(preset, tiny_pipeline, tmp_path):
    first, second = tiny_pipeline(preset), build(preset, tmp_path / "again")
    names = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert names == sorted(p.relative_to(second) for p in second.rglob("*") if p.is_file())
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_building_leaves_the_random_state_alone(tmp_path):
    before = torch.get_rng_state()
    build("pixart", tmp_path)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("preset", ["sd15", "sd21", "sdxl", "sd30", "flux-dev"])
def test_clip_texts_are_cut_at_77_tokens(preset, loaded):
    tokenizer = loaded(preset).tokenizer
    assert tokenizer.model_max_length == 77
    assert len(tokenizer(" ".join(["dog"] * 75)).input_ids) == 77
    assert len(tokenizer(" ".join(["dog"] * 76), truncation=True).input_ids) == 77
    assert tokenizer.unk_token_id not in tokenizer("Ünknown wörds, 日本").input_ids[:-1]


def test_templates_have_as_many_tokens_as_the_pipelines_cut_off(loaded):
    """Else part of the prompt would be cut, or part of the template kept."""
    qwen = loaded("qwen")
    tokens = qwen.tokenizer.tokenize(qwen.prompt_template_encode.format(GOLDFISH))
    kept = tokens[qwen.prompt_template_encode_start_idx :]
    assert qwen.tokenizer.convert_tokens_to_string(kept).startswith(GOLDFISH)
    ovis = loaded("ovis")
    tokens = ovis.tokenizer.tokenize(ovis._get_messages(GOLDFISH)[0])
    # Its count spares the instruction's colon.
    kept = tokens[ovis.user_prompt_begin_id :]
    assert ovis.tokenizer.convert_tokens_to_string(kept).startswith(": " + GOLDFISH)


def test_differences_within_a_family(loaded):
    assert loaded("sd15").safety_checker is not None
    assert loaded("sd21").scheduler.config.prediction_type == "v_prediction"
    assert loaded("sdxl-turbo").scheduler.__class__.__name__ == "EulerAncestralDiscreteScheduler"
    assert loaded("flux-dev").transformer.config.guidance_embeds
    assert not loaded("flux-schnell").transformer.config.guidance_embeds
    assert loaded("sd35").transformer.config.dual_attention_layers
    assert loaded("sd35-large").transformer.config.qk_norm == "rms_norm"
    assert loaded("sd30").transformer.config.qk_norm is None
    assert loaded("flux2-klein").config.is_distilled
