"""LAION's aesthetic score: how people would rate an image, about 1 to 10 (Schuhmann et al. 2022).

CLIP ViT-L/14 image features of length 1 go through five linear layers, as in the repository
christophschuhmann/improved-aesthetic-predictor with `sac+logos+ava1-l14-linearMSE.pth`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import transformers
from torch import Tensor
from torch.nn import functional as F

from synthgap.errors import UserError
from synthgap.scorers.base import (
    Pictures,
    TorchScorer,
    linear_stack,
    load_model,
    load_tensors,
    openai_transform,
    weights_of,
)


def make_scorer(
    spec: Mapping[str, Any], models: Mapping[str, Path], device: str
) -> "AestheticScorer":
    """Return the scorer of kind `laion-aesthetic`."""
    return AestheticScorer(spec, models["head"], models["clip"], device)


class AestheticScorer(TorchScorer):
    """Scores images alone.

    Args:
        head: published .pth file of the linear layers.
        clip: folder of the CLIP model whose features they were trained on.
    """

    name = "laion_aesthetic"
    metric = "laion_aesthetic_sac_logos_ava1_l14"
    needs_prompt = False

    def __init__(self, spec: Mapping[str, Any], head: Path, clip: Path, device: str) -> None:
        super().__init__(spec, device)
        self.head = linear_stack(load_tensors(head), head).to(device)
        self.model = load_model(transformers.CLIPModel, clip, self.dtype, device)
        width = self.model.config.projection_dim
        wanted = next(self.head.parameters()).shape[1]
        if width != wanted:
            raise UserError(f"{clip}: its features are {width} wide, and those of {head} {wanted}")
        side = self.model.config.vision_config.image_size
        self.transform = openai_transform(side)
        self.identity = {
            "kind": "laion-aesthetic",
            "weights": weights_of(clip) | weights_of(head),
            "preprocessing": f"OpenAI: shorter side {side} bicubic, centre",
            "scale": "rating",
            "dtype": self.dtype_name,
        }

    def _score(self, images: Pictures, prompts: list[str]) -> Tensor:
        pixels = self._stack(images, self.transform)
        features = self.model.get_image_features(pixel_values=pixels).pooler_output
        rating: Tensor = self.head(F.normalize(features.float(), dim=-1))[:, 0]
        return rating
