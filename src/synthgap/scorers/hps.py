"""Human Preference Score v2.1 (Wu et al. 2023; tgxs002/HPSv2): the cosine, about 0.2 to 0.35.

A CLIP ViT-H/14 of open_clip. The reference makes the *longer* side 224 pixels, bicubic and on
tensors (so values beyond 0..1 stay), and pads with black; it reports the cosine itself and not a
logit. With its default precision it computes in half precision on a GPU.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import open_clip  # type: ignore[import-untyped, unused-ignore]
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as images_of

from synthgap.errors import UserError, suggest
from synthgap.scorers.base import (
    CLIP_MEAN,
    CLIP_STD,
    Pictures,
    TorchScorer,
    cosines,
    fill,
    load_tensors,
    weights_of,
)


def make_scorer(spec: Mapping[str, Any], models: Mapping[str, Path], device: str) -> "HpsScorer":
    """Return the scorer of kind `hpsv2.1`."""
    return HpsScorer(spec, models["weights"], device)


class HpsScorer(TorchScorer):
    """Scores by a CLIP model of open_clip.

    Args:
        spec: `architecture`, as open_clip names it.
        weights: published .pt file.
    """

    name = "hpsv2_1"
    metric = "hpsv2_1"

    def __init__(self, spec: Mapping[str, Any], weights: Path, device: str) -> None:
        super().__init__(spec, device)
        architecture = spec.get("architecture", "ViT-H-14")
        config = open_clip.get_model_config(architecture)
        if config is None:
            known = suggest(architecture, open_clip.list_models())
            raise UserError(f"open_clip has no architecture `{architecture}`{known}")
        tensors = load_tensors(weights)
        self.model = open_clip.CLIP(**config)
        fill(self.model, tensors, weights)
        self.model.to(device, self.dtype).eval()
        self.tokenizer = open_clip.get_tokenizer(architecture)
        self.side: int = config["vision_cfg"]["image_size"]
        self.identity = {
            "kind": "hpsv2.1",
            "architecture": architecture,
            "weights": weights_of(weights),
            "preprocessing": f"longer side {self.side} bicubic on tensors, padded with black",
            "max_tokens": self.tokenizer.context_length,
            "scale": "cos",
            "dtype": self.dtype_name,
        }

    def transform(self, image: Image.Image) -> Tensor:
        """Return an image as the network sees it, float32 (3, side, side)."""
        scale = self.side / max(image.size)
        height, width = (max(1, round(length * scale)) for length in (image.height, image.width))
        pixels = images_of.resize(
            images_of.to_tensor(image), [height, width], InterpolationMode.BICUBIC, antialias=True
        )
        down, across = self.side - height, self.side - width
        edges = [across // 2, down // 2, across - across // 2, down - down // 2]
        padded: Tensor = images_of.normalize(images_of.pad(pixels, edges), CLIP_MEAN, CLIP_STD)
        return padded

    def _score(self, images: Pictures, prompts: list[str]) -> Tensor:
        limit = self.tokenizer.context_length
        self.cut += sum(len(self.tokenizer.encode(text)) + 2 > limit for text in prompts)
        seen = self.model.encode_image(self._stack(images, self.transform))
        read = self.model.encode_text(self.tokenizer(prompts).to(self.device))
        return cosines(seen, read)
