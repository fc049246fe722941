"""A captioner that measures pixels and needs no model.

It describes one drawn figure on a plain background, such as a handwritten digit. Every sentence
has the same form, in a vocabulary of some thirty words:

    a thin stroke leaning to the left, small and narrow, above and left of the centre, dim

The thresholds below split scikit-learn's 8 x 8 digits, enlarged bicubically to 32 px, so that each
word describes at least a tenth of them. On other images the sentence is well formed, but it may
say little.

Composites are described by what they are made of: "three on the left, seven on the right" and
"three, and a smaller seven at the upper left". The names come from the images' classes, as those of
prompts do.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from synthgap.captioners import Picture, Reply
from synthgap.errors import UserError
from synthgap.views.distance_transform import grey_levels, ink_mask

BLANK = "a blank image"

# Two thresholds t, u and three words: below t, from t up to u, from u on.
BINS: dict[str, tuple[tuple[float, float], tuple[str, str, str]]] = {
    "thickness": ((0.205, 0.235), ("thin", "medium", "thick")),
    "slant": ((-3.0, 3.0), ("leaning to the left", "standing upright", "leaning to the right")),
    "size": ((0.305, 0.335), ("small", "average", "large")),
    "breadth": ((0.48, 0.58), ("narrow", "regular", "broad")),
    "y": ((0.48, 0.52), ("above", "", "below")),
    "x": ((0.48, 0.52), ("left", "", "right")),
    "brightness": ((0.7, 0.77), ("dim", "clear", "bright")),
}

# Where a part of a composite is, by thirds from above and from the left.
PLACES = (
    ("upper left", "top", "upper right"),
    ("left", "middle", "right"),
    ("lower left", "bottom", "lower right"),
)

# Grey levels, of 255, under which an image holds noise rather than a figure.
_MIN_CONTRAST = 16


class AttributeCaptioner:
    """Describes stroke, slant, size, breadth, position and brightness. See the module's text."""

    name = "attributes"
    at_once = 64

    def caption(self, pictures: Sequence[Picture]) -> list[Reply]:
        """Return one sentence a picture; they are of one size.

        Class names are looked at in composites alone.
        """
        images = np.stack([picture.pixels() for picture in pictures])
        texts = [
            describe_composite(picture.class_name, picture.partner_class_name, picture.box)
            if picture.box
            else text
            for picture, text in zip(pictures, describe(images), strict=True)
        ]
        return [Reply(text, model=self.name) for text in texts]


def load(
    spec: dict[str, Any], *, model: Path | None, device: str, cache: Path | None
) -> AttributeCaptioner:
    """The captioner of kind `attributes`, which has no settings. UserError when given some."""
    extra = sorted(set(spec) - {"kind"})
    if extra:
        raise UserError(f"captioner 'attributes' has no settings; remove {', '.join(extra)}")
    return AttributeCaptioner()


def describe(images: npt.NDArray[np.uint8]) -> list[str]:
    """Return one sentence of at most 24 words an image, or BLANK for one without contrast.

    images: uint8 (N, H, W, 3). Raises UserError on others.
    """
    measures = measure(images)
    words = {name: _words(name, measures[name]) for name in BINS}
    return [
        BLANK if blank else _sentence({name: words[name][index] for name in words})
        for index, blank in enumerate(measures["blank"])
    ]


def describe_composite(base: str, partner: str, box: tuple[float, float, float, float]) -> str:
    """Say which classes a composite shows, and where.

    box: top, left, height and width of the partner, as shares of the image's sides.
    """
    top, left, height, width = box
    if height > 0.9 or width > 0.9:  # a half
        other, here = ("above", "below") if width > 0.9 else ("on the left", "on the right")
        if top + left < 0.1:
            other, here = here, other
        return f"{base} {other}, {partner} {here}"
    row, column = (int(at > 1 / 3) + int(at > 2 / 3) for at in (top + height / 2, left + width / 2))
    place = PLACES[row][column]
    return f"{base}, and a smaller {partner} at the {place}"


def measure(images: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[Any]]:
    """Measure the figure in each image.

    images: uint8 (N, H, W, 3). What counts as ink is decided by
    `synthgap.views.structure.ink_mask`; `side` is the shorter of H and W.

    Returns arrays (N,):
      blank       bool: less than 16 grey levels between darkest and brightest; the rest is NaN
      thickness   mean stroke thickness / side: twice the distance transform along its ridge, - 1
      slant       degrees from the vertical, positive when the top leans to the right: the shear
                  cov(x, y) / var(y) that would put the figure upright
      size        root mean square distance of the ink from its centroid / side
      breadth     horizontal / vertical standard deviation of the ink
      x, y        centroid of the ink, 0 at the left and top edge and 1 at the right and bottom
      brightness  mean grey level of the ink in [0, 1]
    Raises UserError on other images.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise UserError(
            f"images must be uint8 (N, H, W, 3), not {images.dtype} of shape {images.shape}"
        )
    greys = grey_levels(images)
    blank = np.array([int(grey.max()) - int(grey.min()) < _MIN_CONTRAST for grey in greys], bool)
    values = np.full((len(greys), len(BINS)), np.nan)
    for index in np.flatnonzero(~blank):
        values[index] = _measure_one(greys[index])
    return {"blank": blank, **dict(zip(BINS, values.T, strict=True))}


def _measure_one(grey: npt.NDArray[np.uint8]) -> list[float]:
    """The measures of one grey image (H, W) in the order of BINS."""
    height, width = grey.shape
    side = min(height, width)
    ink = ink_mask(grey)

    depth = ndimage.distance_transform_edt(ink)
    ridge = ink & (depth == ndimage.maximum_filter(depth, size=3))
    thickness = 2 * depth[ridge].mean() - 1  # a line one pixel wide has depth 1

    rows, columns = np.nonzero(ink)
    y, x = rows.mean(), columns.mean()
    # A pixel is a square, not a point; its own variance of 1/12 also keeps the ratios finite.
    var_y, var_x = rows.var() + 1 / 12, columns.var() + 1 / 12
    covariance = ((rows - y) * (columns - x)).mean()
    return [
        thickness / side,
        -np.degrees(np.arctan2(covariance, var_y)),  # rows count downwards
        np.sqrt(var_y + var_x) / side,
        np.sqrt(var_x / var_y),
        (y + 0.5) / height,
        (x + 0.5) / width,
        grey[ink].mean() / 255,
    ]


def _words(name: str, values: npt.NDArray[np.float64]) -> list[str]:
    thresholds, words = BINS[name]
    return [words[bin_index] for bin_index in np.searchsorted(thresholds, values, side="right")]


def _sentence(words: dict[str, str]) -> str:
    offsets = [word for word in (words["y"], words["x"]) if word]
    place = " and ".join(offsets)
    # "above" takes the centre directly, "left" needs an "of".
    if not offsets:
        place = "in the centre"
    else:
        place += " of the centre" if words["x"] else " the centre"
    return (
        f"a {words['thickness']} stroke {words['slant']}, {words['size']} and {words['breadth']}, "
        f"{place}, {words['brightness']}"
    )
