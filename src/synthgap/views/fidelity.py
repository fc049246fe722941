"""Views that lower the fidelity of all images alike: fewer pixels, or JPEG's losses."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from synthgap.errors import UserError
from synthgap.views.derived import Derived, Images, View

CHROMA = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2}


def resize(images: Images, size: int) -> Images:
    """Scale images down to size x size pixels by area, so that no frequency folds back.

    Args:
        images: uint8 (N, H, W, 3), square.

    Raises:
        UserError: `size` is larger than a side.

    Examples:
        >>> image = np.array([[0, 0, 255, 255], [0, 0, 255, 255]] * 2, np.uint8)
        >>> resize(image[None, :, :, None].repeat(3, axis=3), 2)[0, :, :, 0].tolist()
        [[0, 255], [0, 255]]
    """
    side = images.shape[1]
    if not 1 <= size <= min(images.shape[1:3]):
        raise UserError(f"`size` must be from 1 to {side} px, not {size!r}")
    scaled = [
        np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BOX))
        for image in images
    ]
    return np.stack(scaled) if scaled else np.zeros((0, size, size, 3), np.uint8)


def recompress(images: Images, quality: int, chroma: str) -> Images:
    """Return what JPEG leaves of images, at a quality of 1..95 of libjpeg's scale.

    Where one side of a comparison was JPEG before and the other was not, its traces are in the
    pixels of both sides then.

    Args:
        images: uint8 (N, H, W, 3).
    """
    found = np.empty_like(images)
    for index, image in enumerate(images):
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=CHROMA[chroma])
        found[index] = np.asarray(Image.open(buffer).convert("RGB"))
    return found


def make_view(spec: dict[str, Any]) -> View:
    """The views `resize` and `jpeg`; see `synthgap.views.make_view`."""

    def view(images: Images, seeds: Sequence[int]) -> Derived:
        if spec["kind"] == "resize":
            return Derived(resize(images, spec["size"]))
        return Derived(recompress(images, spec["quality"], spec.get("chroma", "4:2:0")))

    return view
