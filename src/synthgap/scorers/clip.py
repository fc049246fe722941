"""CLIPScore and PickScore: the cosine of CLIP's features of an image and its prompt, scaled.

- `hessel`: CLIPScore as its authors compute it (Hessel et al. 2021; jmhessel/clipscore):
  2.5 max(cos, 0), prompts prefixed with "A photo depicts ", ViT-B/32.
- `torchmetrics`: as that library does: 100 cos, no prefix, ViT-L/14 by default. Its max(..., 0) is
  of the *mean* over all pairs; a pair's score may be negative there and here. Of a prompt that is
  too long it keeps the first 77 tokens and so not the end mark, at which CLIP reads its features
  off; so does this.
- `pickscore`: Kirstain et al. 2023, a CLIP ViT-H/14 trained on choices of people: the logit,
  exp(logit_scale) cos, some 100 cos.
"""

import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ftfy
import transformers
from torch import Tensor

from synthgap.errors import UserError, suggest
from synthgap.scorers.base import (
    Pictures,
    TorchScorer,
    cosines,
    load_model,
    load_part,
    openai_transform,
    weights_of,
)

# OpenAI's models by width and patch of the vision tower.
ARCHITECTURES = {(768, 32): "vit_b32", (768, 16): "vit_b16", (1024, 14): "vit_l14"}
# What of an image processor's settings the identity tells.
PROCESSING = ("size", "crop_size", "resample", "image_mean", "image_std")


@dataclass(frozen=True)
class Recipe:
    """How cosines become a score."""

    name: str
    variant: str
    scale: Callable[[Tensor, Any], Tensor]
    formula: str
    prefix: str = ""
    as_openai: bool = False
    """preprocessing of OpenAI's own library, and not of the folder's processor"""
    keeps_end: bool = True
    """whether a prompt that is cut still ends in its end mark"""


VARIANTS = {
    "hessel": Recipe(
        "clipscore",
        "hessel",
        lambda cosine, _: 2.5 * cosine.clamp(min=0),
        "2.5 max(cos, 0)",
        prefix="A photo depicts ",
        as_openai=True,
    ),
    "torchmetrics": Recipe(
        "clipscore", "torchmetrics", lambda cosine, _: 100 * cosine, "100 cos", keeps_end=False
    ),
}
PICKSCORE = Recipe(
    "pickscore",
    "v1",
    lambda cosine, model: model.logit_scale.float().exp() * cosine,
    "exp(logit_scale) cos",
)


def make_scorer(spec: Mapping[str, Any], models: Mapping[str, Path], device: str) -> "ClipScorer":
    """Return the scorer of kind `clipscore` or `pickscore`."""
    recipe = PICKSCORE
    if spec["kind"] == "clipscore":
        variant = spec.get("variant", "hessel")
        if variant not in VARIANTS:
            raise UserError(f"unknown variant of CLIPScore `{variant}`{suggest(variant, VARIANTS)}")
        recipe = VARIANTS[variant]
    return ClipScorer(spec, recipe, models["clip"], models.get("processor"), device)


def architecture_of(config: Any) -> str:
    """Return a name for a CLIP model, such as `vit_b32`, from its configuration."""
    vision = config.vision_config
    known = ARCHITECTURES.get((vision.hidden_size, vision.patch_size))
    name = known or f"vit_w{vision.hidden_size}_p{vision.patch_size}"
    return name if vision.image_size == 224 or not known else f"{name}_{vision.image_size}"


class ClipScorer(TorchScorer):
    """Scores by a CLIP model of transformers.

    Args:
        folder: config.json, safetensors, tokenizer and image processor, as on the hub.
        processor: folder of tokenizer and image processor, where they are not the model's own.
    """

    def __init__(
        self,
        spec: Mapping[str, Any],
        recipe: Recipe,
        folder: Path,
        processor: Path | None,
        device: str,
    ) -> None:
        super().__init__(spec, device)
        processor = processor or folder
        self.recipe = recipe
        self.tokenizer = load_part(transformers.AutoTokenizer, processor)
        self.model = load_model(transformers.CLIPModel, folder, self.dtype, device)
        config = self.model.config
        self.limit: int = config.text_config.max_position_embeddings
        side = config.vision_config.image_size
        architecture = architecture_of(config)
        self.name, self.metric = recipe.name, f"{recipe.name}_{recipe.variant}"
        if recipe is not PICKSCORE:
            self.metric += f"_{architecture}"
        seen: Any
        if recipe.as_openai:
            self.transform = openai_transform(side)
            seen = f"OpenAI: shorter side {side} bicubic, centre"
        else:
            # The references are older than the processors that resize tensors.
            images = load_part(transformers.AutoImageProcessor, processor, backend="pil")
            self.transform = lambda image: images(image, return_tensors="pt")["pixel_values"][0]
            told = images.to_dict()
            seen = {name: told.get(name) for name in PROCESSING} | {"backend": "pil"}
        self.identity = {
            "kind": recipe.name,
            "variant": recipe.variant,
            "architecture": architecture,
            "weights": weights_of(folder),
            "preprocessing": seen,
            "prefix": recipe.prefix,
            "max_tokens": self.limit,
            "scale": recipe.formula,
            "dtype": self.dtype_name,
        }

    def _score(self, images: Pictures, prompts: list[str]) -> Tensor:
        pixels = self._stack(images, self.transform)
        seen = self.model.get_image_features(pixel_values=pixels).pooler_output
        if self.recipe.as_openai:  # as its tokenizer does before anything else
            prompts = [html.unescape(html.unescape(ftfy.fix_text(text))) for text in prompts]
        texts = self.tokenizer([self.recipe.prefix + text for text in prompts], verbose=False)
        ids, mask = self._truncated(
            texts["input_ids"],
            self.limit,
            self.tokenizer.eos_token_id if self.recipe.keeps_end else None,
            self.tokenizer.pad_token_id,
        )
        read = self.model.get_text_features(input_ids=ids, attention_mask=mask).pooler_output
        return self.recipe.scale(cosines(seen, read), self.model)
