"""How an image is brought to a network's size: pinned here, not read from a model's folder.

Resizing is Pillow's, on 8 bits, because the published encoders were trained and measured with it.
torchvision's resize of uint8 tensors is 2.5 to 10 times as fast on a CPU but one level off in some
0.5 % of the numbers, and as floats (on a GPU) off by more, since nothing is rounded between the two
passes; the metrics that read features are sensitive to such filters (Parmar et al. 2022). A
thread prepares some 1000 images of 256 px a second, and threads run side by side.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from PIL import Image

from synthgap.encoders import Images
from synthgap.errors import UserError, suggest

INTERPOLATIONS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
NEEDED = ("image_size", "interpolation", "crop", "mean", "std")


@dataclass(frozen=True)
class Preprocessing:
    """Resize, crop and normalise.

    Args:
        image_size: side in pixels of the square that the network sees.
        interpolation: of INTERPOLATIONS; both are antialiased.
        crop: `squash` brings the whole image to the square; a number is the share of the shorter
            side that a centre crop keeps of an image resized with its proportions (1.0 or 0.875).
        mean, std: of red, green and blue, on the scale 0..1.
    """

    image_size: int
    interpolation: str
    crop: float | str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> Self:
        """Return what an encoder's options say. UserError on what is missing or unknown."""
        for name in NEEDED:
            if name not in spec:
                raise UserError(f"encoder {spec.get('family')} needs `{name}`")
        if spec["interpolation"] not in INTERPOLATIONS:
            raise UserError(
                f"unknown interpolation `{spec['interpolation']}`"
                f"{suggest(str(spec['interpolation']), INTERPOLATIONS)}"
            )
        crop = spec["crop"]
        if crop != "squash" and not (isinstance(crop, int | float) and 0 < crop <= 1):
            raise UserError(f"crop: `squash` or a share above 0 and up to 1, not {crop!r}")
        if len(spec["mean"]) != 3 or len(spec["std"]) != 3 or min(spec["std"]) <= 0:
            raise UserError("mean and std: one number each of red, green and blue; std above 0")
        return cls(
            spec["image_size"],
            spec["interpolation"],
            crop,
            tuple(map(float, spec["mean"])),
            tuple(map(float, spec["std"])),
        )

    def identity(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self) | {"mean": list(self.mean), "std": list(self.std)}

    def __call__(self, image: Images) -> Images:
        """Return an image, uint8 (H, W, 3), as uint8 (image_size, image_size, 3)."""
        side, filter_ = self.image_size, INTERPOLATIONS[self.interpolation]
        height, width = image.shape[:2]
        if isinstance(self.crop, str):
            size = (side, side)
        else:
            # A share of 0.875 is what "resize to 256, crop 224" means.
            resized, shorter = math.floor(side / self.crop), min(height, width)
            size = (int(resized * width / shorter), int(resized * height / shorter))
        if size != (width, height):
            image = np.asarray(Image.fromarray(image).resize(size, filter_))
        top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
        return image[top : top + side, left : left + side]
