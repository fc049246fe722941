"""Depth Anything V2 through transformers, a batch at a time (Yang et al. 2024; paper A, 3.1).

As its authors run it: the shorter side becomes 518 pixels in the network and the longer one the
nearest multiple of a patch's 14, and the map is brought back to the image's size. (The image
processor of transformers does so for square images; of others it may fit the longer side.)
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors import SafetensorError
from torch import Tensor
from torch.nn import functional as F

from synthgap.errors import UserError
from synthgap.views.derived import Images
from synthgap.views.structure import Estimator, Maps

# How a map is brought back. transformers' own post-processing is `bicubic`.
INTERPOLATIONS: dict[str, dict[str, Any]] = {
    "bilinear": {"mode": "bilinear", "align_corners": True},
    "bicubic": {"mode": "bicubic", "align_corners": False},
}
DTYPES = ("auto", "float32", "bfloat16", "float16")


def make_estimator(
    spec: Mapping[str, Any], model: Path | None, device: str
) -> tuple[Estimator, dict[str, str]]:
    """Return the estimator that a view's options name, its model loaded, and what to record."""
    if model is None:
        raise UserError("the estimator depth-anything needs the folder of its model")
    estimator = DepthAnything(
        model,
        input_size=spec.get("input_size", 518),
        interpolation=spec.get("interpolation", "bilinear"),
        dtype=spec.get("dtype", "auto"),
        device=device,
    )
    return estimator, {"dtype": str(estimator.model.dtype).removeprefix("torch.")}


class DepthAnything:
    """Estimate depth: of most models the inverse, up to scale; of metric ones, metres.

    Args:
        folder: config.json, preprocessor_config.json and safetensors, as on the hub; any model of
            `AutoModelForDepthEstimation` with the image processor of DPT will do.
        input_size: pixels of the shorter side in the network; a multiple of its patches.
        interpolation: `bilinear` with aligned corners, as the authors' code has it, or `bicubic`,
            as the depth pipeline of transformers has it.
        dtype: of the network; `auto` is bfloat16 on a GPU and float32 on a CPU. Maps are float32.
        device: torch's.

    Raises:
        UserError: the folder holds no such model, or not all of it, or a setting does not suit it.
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
        if interpolation not in INTERPOLATIONS:
            known = ", ".join(INTERPOLATIONS)
            raise UserError(f"unknown interpolation {interpolation!r}; known: {known}")
        if dtype not in DTYPES:
            raise UserError(f"unknown dtype {dtype!r}; known: {', '.join(DTYPES)}")
        if dtype == "auto":
            dtype = "float32" if device == "cpu" else "bfloat16"
        local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            self.processor = transformers.AutoImageProcessor.from_pretrained(folder, **local)
            self.model, report = transformers.AutoModelForDepthEstimation.from_pretrained(
                folder,
                dtype=getattr(torch, dtype),
                use_safetensors=True,
                output_loading_info=True,
                **local,
            )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise UserError(f"{folder}: cannot be loaded as a depth model: {error}") from error
        if missing := sorted(report["missing_keys"]):
            # transformers would leave them as they were drawn at random.
            raise UserError(
                f"{folder}: the weights lack {len(missing)} tensors of the network, the first "
                f"being {missing[0]}"
            )
        self.patch = getattr(self.model.config, "patch_size", None) or 1
        if input_size % self.patch:
            raise UserError(
                f"input_size: {input_size} is no multiple of this model's patches of "
                f"{self.patch} px"
            )
        self.model.to(device).eval()
        self.input_size, self.device = input_size, device
        self.interpolation = INTERPOLATIONS[interpolation]

    def network_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width, in pixels, that the network sees of an image."""
        scale = self.input_size / min(height, width)
        sides = [round(side * scale / self.patch) * self.patch for side in (height, width)]
        return sides[0], sides[1]

    @torch.inference_mode()
    def __call__(self, images: Images) -> Maps:
        """Return float32 maps (N, H, W) of uint8 images (N, H, W, 3), all in one batch."""
        if not len(images):
            return np.zeros(images.shape[:3], np.float32)
        pixels = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2)
        height, width = self.network_size(*images.shape[1:3])
        inputs = self.processor(
            images=pixels,
            size={"height": height, "width": width},
            keep_aspect_ratio=False,
            ensure_multiple_of=1,
            return_tensors="pt",
        )["pixel_values"]
        depth: Tensor = self.model(inputs.to(self.model.dtype)).predicted_depth.float()
        back = F.interpolate(depth[:, None], size=images.shape[1:3], **self.interpolation)
        maps: Maps = back[:, 0].cpu().numpy()
        return maps
