"""Depth Anything V2 through transformers, a batch at a time (Yang et al. 2024; paper A, 3.1).

As its authors run it: the image is enlarged so that its shorter side is 518 pixels, or the nearest
multiple of the 14 that a patch takes, and the map is brought back to the image's size.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor
from torch.nn import functional as F

from synthgap.errors import UserError
from synthgap.views.derived import Images
from synthgap.views.structure import Maps

# How a map is brought back. transformers' own post-processing is `bicubic`.
INTERPOLATIONS: dict[str, dict[str, Any]] = {
    "bilinear": {"mode": "bilinear", "align_corners": True},
    "bicubic": {"mode": "bicubic", "align_corners": False},
}


def make_estimator(spec: Mapping[str, Any], model: Path | None, device: str) -> "DepthAnything":
    """Return the estimator that a view's options name, its model loaded."""
    if model is None:
        raise UserError("the estimator depth-anything needs the folder of its model")
    return DepthAnything(
        model,
        input_size=spec.get("input_size", 518),
        interpolation=spec.get("interpolation", "bilinear"),
        dtype=spec.get("dtype", "auto"),
        device=device,
    )


class DepthAnything:
    """Estimate depth: of most models the inverse, up to scale; of metric ones, metres.

    Args:
        folder: config.json, preprocessor_config.json and safetensors, as on the hub; any model of
            `AutoModelForDepthEstimation` whose image processor has a `size` will do.
        input_size: pixels of the shorter side in the network; a multiple of its patches.
        interpolation: `bilinear` with aligned corners, as the authors' code has it, or `bicubic`,
            as the depth pipeline of transformers has it.
        dtype: of the network; `auto` is bfloat16 on a GPU and float32 on a CPU. Maps are float32.
        device: torch's.

    Raises:
        UserError: the folder holds no such model, or the input size does not suit it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        input_size: int = 518,
        interpolation: str = "bilinear",
        dtype: str = "auto",
        device: str = "cpu",
    ) -> None:
        transformers.utils.logging.disable_progress_bar()
        if not (Path(folder) / "preprocessor_config.json").exists():
            raise UserError(f"{folder} is no depth model: it has no preprocessor_config.json")
        if dtype == "auto":
            dtype = "float32" if device == "cpu" else "bfloat16"
        local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            self.processor = transformers.AutoImageProcessor.from_pretrained(folder, **local)
            self.model = transformers.AutoModelForDepthEstimation.from_pretrained(
                folder, dtype=getattr(torch, dtype), use_safetensors=True, **local
            )
        except (OSError, ValueError) as error:
            raise UserError(f"{folder}: cannot be loaded as a depth model: {error}") from error
        patch = getattr(self.model.config, "patch_size", None) or 1
        if input_size % patch:
            raise UserError(
                f"input_size: {input_size} is no multiple of this model's patches of {patch} px"
            )
        self.model.to(device).eval()
        self.size = {"height": input_size, "width": input_size}
        self.interpolation, self.device = INTERPOLATIONS[interpolation], device

    @torch.inference_mode()
    def __call__(self, images: Images) -> Maps:
        """Return float32 maps (N, H, W) of uint8 images (N, H, W, 3), all in one batch."""
        if not len(images):
            return np.zeros(images.shape[:3], np.float32)
        pixels = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2)
        inputs = self.processor(images=pixels, size=self.size, return_tensors="pt")["pixel_values"]
        depth: Tensor = self.model(inputs.to(self.model.dtype)).predicted_depth.float()
        back = F.interpolate(depth[:, None], size=images.shape[1:3], **self.interpolation)
        maps: Maps = back[:, 0].cpu().numpy()
        return maps
