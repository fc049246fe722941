"""Pipelines that are told a class and no prompt, such as DiT's."""

import copy
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
import yaml

from generator_options import generator_options
from synthgap import config
from synthgap.errors import UserError
from synthgap.generators.pipeline import TextToImage

SIDE = 16
ROOT = Path(__file__).parents[2]
PLAIN = generator_options(image_size=SIDE, guidance_scale=1.5)
CLASSES = {"cat": 0, "dog": 1, "owl": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny DiT whose classes look different."""
    torch.manual_seed(0)
    transformer = diffusers.DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=1,
        sample_size=SIDE // 2, patch_size=2, num_embeds_ada_norm=1000, norm_num_groups=1,
    )  # fmt: skip
    torch.nn.init.normal_(transformer.proj_out_2.weight, std=0.5)
    for block in transformer.transformer_blocks:
        torch.nn.init.normal_(block.norm1.emb.class_embedder.embedding_table.weight, std=5)
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 8), norm_num_groups=4, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    where = tmp_path_factory.mktemp("dit")
    diffusers.DiTPipeline(transformer, vae, diffusers.DDIMScheduler()).save_pretrained(where)
    return where


def images(folder, prompts, labels="order", classes=CLASSES):
    model = TextToImage(folder, PLAIN | {"class_labels": labels}, "cpu", classes=classes)
    return model.generate(prompts, [5] * len(prompts)).pixels


def test_each_image_is_of_its_class_and_seed(folder):
    together = images(folder, ["cat", "dog", "cat"])
    assert together.shape == (3, SIDE, SIDE, 3)
    assert together.dtype == np.uint8
    assert np.abs(together[0].astype(int) - together[2]).max() <= 1
    assert np.abs(together[0].astype(int) - together[1]).max() > 1
    alone = images(folder, ["dog"])
    assert np.abs(together[1].astype(int) - alone[0]).max() <= 1


def test_numbers_of_the_model_stand_in_for_the_order(folder):
    owl = images(folder, ["owl"])
    assert (images(folder, ["cat"], labels=[2, 1, 0]) == owl).all()
    with pytest.raises(UserError, match="2 numbers, and there is a class 2"):
        images(folder, ["cat"], labels=[1, 2])


def test_prompts_and_classes_are_not_mistaken(folder, tiny_pipeline):
    with pytest.raises(UserError, match="is told classes by number; set the generator's"):
        TextToImage(folder, PLAIN, "cpu")
    with pytest.raises(UserError, match="is told prompts; leave `class_labels` out"):
        TextToImage(tiny_pipeline("sd15"), PLAIN | {"class_labels": "order"}, "cpu")


def test_a_class_conditional_generator_has_one_kind_of_prompt():
    raw = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    own = {"model": "my-lab/dit", "steps": 9, "guidance_scale": 1.5}
    raw["generators"]["dit"] = own | {"class_labels": "order"}
    study = config.parse(raw)
    assert [name for name in study.sources if name.startswith("dit")] == ["dit-classname"]
    assert study.generator_options("dit")["class_labels"] == "order"
    assert "class_labels" not in study.generator_options("flow-g1")
    wrong = copy.deepcopy(raw)
    wrong["generators"]["dit"]["class_labels"] = [1, 2, 3]
    with pytest.raises(UserError, match=r"dit.class_labels: 3 numbers for 10 classes"):
        config.parse(wrong)
