"""A captioner of photographs that measures pixels and needs no model.

It says how an image looks and not what it shows, so it stands in for a vision-language model where
there is no network and no GPU. Every sentence has the same form, in some thirty words:

    mostly green and brown, bright, colourful, with fine detail, lighter at the top

Colours are named by hue, saturation and value (HSV), as the share of pixels that have each. The
thresholds are round numbers that nobody fitted to a data set.

Composites are described by the classes that they are made of (see `attributes`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from synthgap.captioners import Picture, Reply
from synthgap.captioners.attributes import describe_composite
from synthgap.errors import UserError
from synthgap.views.distance_transform import grey_levels

NAMES = (
    "black", "grey", "white", "brown", "red", "orange", "yellow", "green", "turquoise", "blue",
    "purple", "pink",
)  # fmt: skip
# Where hues of OpenCV (0..179, of two degrees) begin, and what is from there on.
HUES = ((0, "red"), (8, "orange"), (20, "yellow"), (35, "green"), (83, "turquoise"),
        (100, "blue"), (130, "purple"), (155, "pink"), (172, "red"))  # fmt: skip
# Of 255: below, an image's pixel is black; above and without colour, it is white.
BLACK, WHITE, COLOURLESS, BROWN = 50, 215, 40, 160
# The share of pixels from which on a second colour is named.
SECOND = 0.2

# Two thresholds t, u and three words: below t, from t up to u, from u on.
BINS: dict[str, tuple[tuple[float, float], tuple[str, str, str]]] = {
    "light": ((80.0, 160.0), ("dark", "neither dark nor bright", "bright")),
    "colour": ((50.0, 110.0), ("pale", "moderately coloured", "colourful")),
    "detail": ((6.0, 16.0), ("smooth", "with some detail", "with fine detail")),
}
# Grey levels between two halves of an image from which on one is called lighter.
UNEVEN = 20.0


class ColourCaptioner:
    """Describes colours, light, detail and where an image is lighter. See the module's text."""

    name = "colours"
    at_once = 64

    def caption(self, pictures: Sequence[Picture]) -> list[Reply]:
        """Return one sentence a picture; class names are looked at in composites alone."""
        texts = [
            describe_composite(picture.class_name, picture.partner_class_name, picture.box)
            if picture.box
            else describe(picture.pixels())
            for picture in pictures
        ]
        return [Reply(text, model=self.name) for text in texts]


def load(
    spec: dict[str, Any], *, model: Path | None, device: str, cache: Path | None
) -> ColourCaptioner:
    """The captioner of kind `colours`, which has no settings. UserError when given some."""
    extra = sorted(set(spec) - {"kind"})
    if extra:
        raise UserError(f"captioner 'colours' has no settings; remove {', '.join(extra)}")
    return ColourCaptioner()


def describe(image: npt.NDArray[np.uint8]) -> str:
    """Return one sentence of at most 20 words.

    image: uint8 (H, W, 3). Raises UserError on others.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise UserError(f"an image must be uint8 (H, W, 3), not {image.dtype} of {image.shape}")
    grey = grey_levels(image[None])[0].astype(np.float64)
    saturation = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2HSV)[..., 1]
    steps = [np.abs(np.diff(grey, axis=axis)).mean() for axis in (0, 1) if grey.shape[axis] > 1]
    values = {
        "light": float(grey.mean()),
        "colour": float(saturation.mean()),
        "detail": float(np.mean(steps)) if steps else 0.0,
    }
    words = [
        names[int(np.searchsorted(thresholds, values[key], side="right"))]
        for key, (thresholds, names) in BINS.items()
    ]
    return ", ".join([f"mostly {' and '.join(_colours(image))}", *words, *_lighter(grey)])


def _colours(image: npt.NDArray[np.uint8]) -> list[str]:
    """Return the one or two colours that most pixels have, the commoner first."""
    hsv = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2HSV)
    hue, saturation, value = (hsv[..., channel] for channel in range(3))
    starts = [start for start, _ in HUES]
    of_hue = np.array([NAMES.index(name) for _, name in HUES])
    named = of_hue[np.searchsorted(starts, hue, side="right") - 1]
    dim_orange = (named == NAMES.index("orange")) & (value < BROWN)
    named[dim_orange] = NAMES.index("brown")
    named[saturation < COLOURLESS] = NAMES.index("grey")
    named[(saturation < COLOURLESS) & (value > WHITE)] = NAMES.index("white")
    named[value < BLACK] = NAMES.index("black")
    shares = np.bincount(named.ravel(), minlength=len(NAMES)) / named.size
    first, second = np.argsort(-shares, kind="stable")[:2]
    return [NAMES[first], *([NAMES[second]] if shares[second] >= SECOND else [])]


def _lighter(grey: npt.NDArray[np.float64]) -> list[str]:
    """Return where an image is lighter, if it is so anywhere."""
    rows, columns = grey.shape[0] // 2, grey.shape[1] // 2
    if not (rows and columns):
        return []
    down = grey[:rows].mean() - grey[-rows:].mean()
    across = grey[:, :columns].mean() - grey[:, -columns:].mean()
    if max(abs(down), abs(across)) < UNEVEN:
        return []
    if abs(down) >= abs(across):
        return [f"lighter at the {'top' if down > 0 else 'bottom'}"]
    return [f"lighter on the {'left' if across > 0 else 'right'}"]
