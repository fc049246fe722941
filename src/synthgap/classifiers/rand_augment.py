"""RandAugment: some random operations on each image, all drawn beforehand from one generator.

Source: Cubuk et al., "RandAugment" (2020), in the variant that timm calls `rand-m9-mstd0.5-inc1`
and ConvNeXt and paper C train with: two of fifteen operations an image, the same one twice not
excluded, each carried out with probability 1/2; strengths that grow with the magnitude. As there,
geometric operations resample bilinearly or bicubically by chance, and leave ImageNet's mean colour
where they leave nothing.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps
from torch import Generator

from synthgap.classifiers.evaluation import MEAN

AN_IMAGE = 2  # operations drawn
CHANCE = 0.5  # of each to be carried out
HIGHEST = 10.0  # magnitude
FILL = tuple(round(255 * part) for part in MEAN)


class Change(NamedTuple):
    """One operation on one image."""

    name: str
    """one of `OPERATIONS`"""
    magnitude: float
    """0 to 10"""
    negated: bool = False
    """to the other side: left, up, darker..."""
    bicubic: bool = False
    """and not bilinear"""

    def up_to(self, largest: float) -> float:
        """Return the strength, which is +-`largest` at the highest magnitude."""
        strength = self.magnitude / HIGHEST * largest
        return -strength if self.negated else strength

    def steps(self, number: int) -> int:
        """Return 0 at magnitude 0 to `number` at the highest."""
        return int(self.magnitude / HIGHEST * number)


def draw(n: int, magnitude: float, deviation: float, rng: Generator) -> list[list[Change]]:
    """Draw what is done to each of `n` images, in this order: none to two operations.

    Args:
        magnitude: 0 to 10; each operation's own is normal about it, cut off at 0 and 10.
        deviation: standard deviation of that.
    """
    shape, names = (n, AN_IMAGE), list(OPERATIONS)
    kinds = torch.randint(len(names), shape, generator=rng).tolist()
    done, negated, bicubic = torch.rand(3, *shape, generator=rng)
    noise = torch.randn(shape, generator=rng, dtype=torch.float64)
    magnitudes = (magnitude + deviation * noise).clamp(0, HIGHEST).tolist()
    carried_out = (done < CHANCE).tolist()
    sides, kernels = (negated < 0.5).tolist(), (bicubic < 0.5).tolist()
    return [
        [
            Change(names[kinds[i][j]], magnitudes[i][j], sides[i][j], kernels[i][j])
            for j in range(AN_IMAGE)
            if carried_out[i][j]
        ]
        for i in range(n)
    ]


def apply(image: NDArray[np.uint8], changes: Sequence[Change]) -> None:
    """Carry out `changes`, one after the other, on an image: uint8 (h, w, 3), in place."""
    if not changes:
        return
    changed = Image.fromarray(image)
    for change in changes:
        changed = OPERATIONS[change.name](changed, change)
    image[:] = np.asarray(changed)


def _shear_x(image: Image.Image, change: Change) -> Image.Image:
    return _affine(image, change, (1, change.up_to(0.3), 0, 0, 1, 0))


def _shear_y(image: Image.Image, change: Change) -> Image.Image:
    return _affine(image, change, (1, 0, 0, change.up_to(0.3), 1, 0))


def _translate_x(image: Image.Image, change: Change) -> Image.Image:
    return _affine(image, change, (1, 0, change.up_to(0.45) * image.width, 0, 1, 0))


def _translate_y(image: Image.Image, change: Change) -> Image.Image:
    return _affine(image, change, (1, 0, 0, 0, 1, change.up_to(0.45) * image.height))


def _affine(image: Image.Image, change: Change, matrix: tuple[float, ...]) -> Image.Image:
    return image.transform(
        image.size, Image.Transform.AFFINE, matrix, resample=_kernel(change), fillcolor=FILL
    )


def _rotate(image: Image.Image, change: Change) -> Image.Image:
    return image.rotate(change.up_to(30), resample=_kernel(change), fillcolor=FILL)


def _kernel(change: Change) -> Image.Resampling:
    return Image.Resampling.BICUBIC if change.bicubic else Image.Resampling.BILINEAR


def _auto_contrast(image: Image.Image, change: Change) -> Image.Image:
    return ImageOps.autocontrast(image)


def _equalise(image: Image.Image, change: Change) -> Image.Image:
    return ImageOps.equalize(image)


def _invert(image: Image.Image, change: Change) -> Image.Image:
    return ImageOps.invert(image)


def _posterise(image: Image.Image, change: Change) -> Image.Image:
    # No bit at all would leave black, and Pillow refuses it.
    return ImageOps.posterize(image, max(1, 4 - change.steps(4)))


def _solarise(image: Image.Image, change: Change) -> Image.Image:
    return ImageOps.solarize(image, 256 - change.steps(256))


def _solarise_add(image: Image.Image, change: Change) -> Image.Image:
    added = change.steps(110)
    table = [min(255, value + added) if value < 128 else value for value in range(256)]
    return image.point(table * 3)


def _colour(image: Image.Image, change: Change) -> Image.Image:
    return ImageEnhance.Color(image).enhance(_factor(change))


def _contrast(image: Image.Image, change: Change) -> Image.Image:
    return ImageEnhance.Contrast(image).enhance(_factor(change))


def _brightness(image: Image.Image, change: Change) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(_factor(change))


def _sharpness(image: Image.Image, change: Change) -> Image.Image:
    return ImageEnhance.Sharpness(image).enhance(_factor(change))


def _factor(change: Change) -> float:
    return max(0.1, 1.0 + change.up_to(0.9))


OPERATIONS: dict[str, Callable[[Image.Image, Change], Image.Image]] = {
    "auto_contrast": _auto_contrast,
    "equalise": _equalise,
    "invert": _invert,
    "rotate": _rotate,
    "posterise": _posterise,
    "solarise": _solarise,
    "solarise_add": _solarise_add,
    "colour": _colour,
    "contrast": _contrast,
    "brightness": _brightness,
    "sharpness": _sharpness,
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
}
