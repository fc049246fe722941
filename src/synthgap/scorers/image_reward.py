"""ImageReward (Xu et al. 2023; THUDM/ImageReward): BLIP reads the prompt while seeing the image.

A vision transformer encodes the image, BERT the prompt with cross-attention to it, and five linear
layers turn the first token into a reward, normalised to mean 0 and deviation 1 over the training
set's images. The reference's package pins old libraries, so its weights are put into the BLIP
modules of transformers here. Two of their defaults are not the original's and are set: the vision
tower's layer norms have an epsilon of 1e-6, and attention heads are 64 wide everywhere.
"""

import re
from collections.abc import Mapping
from math import isqrt
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers.models.blip.modeling_blip import BlipVisionModel
from transformers.models.blip.modeling_blip_text import BlipTextModel

from synthgap.errors import UserError
from synthgap.scorers.base import (
    Pictures,
    TorchScorer,
    fill,
    linear_stack,
    load_part,
    load_tensors,
    openai_transform,
    weights_of,
)

MEAN, STD = 0.16717362830052426, 1.0333394966054072  # of rewards in training
MAX_TOKENS = 35
HEAD_WIDTH = 64  # of attention
# The original's names of the vision tower, which are timm's, and transformers'.
VISION_NAMES = (
    (r"^cls_token$", "embeddings.class_embedding"),
    (r"^pos_embed$", "embeddings.position_embedding"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embedding."),
    (r"^blocks\.", "encoder.layers."),
    (r"\.norm([12])\.", r".layer_norm\1."),
    (r"\.attn\.qkv\.", ".self_attn.qkv."),
    (r"\.attn\.proj\.", ".self_attn.projection."),
    (r"^norm\.", "post_layernorm."),
)


def make_scorer(
    spec: Mapping[str, Any], models: Mapping[str, Path], device: str
) -> "ImageRewardScorer":
    """Return the scorer of kind `imagereward`."""
    return ImageRewardScorer(spec, models["weights"], models["tokenizer"], device)


class ImageRewardScorer(TorchScorer):
    """Scores by the published weights.

    Args:
        weights: ImageReward.pt; its tensors' shapes tell the sizes of the networks.
        tokenizer: folder of bert-base-uncased's tokenizer, or its vocab.txt.
    """

    name = "imagereward"
    metric = "imagereward_v1_0"

    def __init__(
        self, spec: Mapping[str, Any], weights: Path, tokenizer: Path, device: str
    ) -> None:
        super().__init__(spec, device)
        self.tokenizer = load_tokenizer(tokenizer)
        tensors = load_tensors(weights)
        try:
            self.vision, self.text = _networks(tensors, weights)
        except KeyError as error:
            raise UserError(
                f"{weights}: these are not the weights of ImageReward; {error} is missing"
            ) from None
        self.vision.to(device, self.dtype).eval()
        self.text.to(device, self.dtype).eval()
        self.head = linear_stack(_under("mlp.", tensors), weights).to(device)
        words = self.text.config.vocab_size
        if len(self.tokenizer) != words:
            raise UserError(
                f"{tokenizer}: {len(self.tokenizer)} tokens with [DEC] and [ENC], and {weights} "
                f"knows {words}; take the vocabulary of bert-base-uncased"
            )
        side = self.vision.config.image_size
        self.transform = openai_transform(side)
        self.identity = {
            "kind": "imagereward",
            "weights": weights_of(weights),
            "preprocessing": f"OpenAI: shorter side {side} bicubic, centre",
            "max_tokens": MAX_TOKENS,
            "scale": f"(reward - {MEAN}) / {STD}",
            "dtype": self.dtype_name,
        }

    def _score(self, images: Pictures, prompts: list[str]) -> Tensor:
        seen = self.vision(self._stack(images, self.transform)).last_hidden_state
        ids, mask = self._truncated(
            self.tokenizer(prompts, verbose=False)["input_ids"],
            MAX_TOKENS,
            self.tokenizer.sep_token_id,
            self.tokenizer.pad_token_id,
        )
        read = self.text(
            input_ids=ids,
            attention_mask=mask,
            encoder_hidden_states=seen,
            encoder_attention_mask=torch.ones(seen.shape[:2], dtype=torch.long, device=self.device),
        ).last_hidden_state
        reward: Tensor = self.head(read[:, 0].float())[:, 0]
        return (reward - MEAN) / STD


def load_tokenizer(path: Path) -> Any:
    """Return BERT's tokenizer with BLIP's two tokens, [DEC] and [ENC], as its last."""
    if path.is_dir():
        tokenizer = load_part(transformers.AutoTokenizer, path)
    else:
        try:
            tokenizer = transformers.BertTokenizer(vocab=str(path), do_lower_case=True)
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"{path}: no vocabulary of BERT: {error}") from error
    tokenizer.add_special_tokens({"bos_token": "[DEC]"})
    tokenizer.add_tokens(["[ENC]"], special_tokens=True)
    return tokenizer


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _networks(tensors: Mapping[str, Tensor], file: Path) -> tuple[Any, Any]:
    """Return the vision and the text network; KeyError where a tensor lacks that tells a size."""
    vision = _under("blip.visual_encoder.", tensors)
    text = _under("blip.text_encoder.", tensors)
    # A buffer that older versions of transformers saved.
    text.pop("embeddings.position_ids", None)
    width, _, patch, _ = vision["patch_embed.proj.weight"].shape
    seeing = BlipVisionModel(
        transformers.BlipVisionConfig(
            hidden_size=width,
            intermediate_size=vision["blocks.0.mlp.fc1.weight"].shape[0],
            num_hidden_layers=_count(vision, r"blocks\.(\d+)\."),
            num_attention_heads=width // HEAD_WIDTH,
            image_size=isqrt(vision["pos_embed"].shape[1] - 1) * patch,
            patch_size=patch,
            layer_norm_eps=1e-6,
        )
    )
    words, text_width = text["embeddings.word_embeddings.weight"].shape
    reading = BlipTextModel(
        transformers.BlipTextConfig(
            vocab_size=words,
            hidden_size=text_width,
            encoder_hidden_size=width,
            intermediate_size=text["encoder.layer.0.intermediate.dense.weight"].shape[0],
            num_hidden_layers=_count(text, r"encoder\.layer\.(\d+)\."),
            num_attention_heads=text_width // HEAD_WIDTH,
            max_position_embeddings=text["embeddings.position_embeddings.weight"].shape[0],
        ),
        add_pooling_layer=False,
    )
    fill(seeing, {_renamed(name): tensor for name, tensor in vision.items()}, file)
    fill(reading, text, file)
    return seeing, reading


def _renamed(name: str) -> str:
    for pattern, replacement in VISION_NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    return len({found[1] for name in tensors if (found := re.match(pattern, name))})
