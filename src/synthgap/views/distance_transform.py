"""A stand-in for depth that needs no model: how deep a pixel lies inside what is drawn.

For drawings and digits, such as those of the embedded default.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from synthgap.views.derived import Images
from synthgap.views.structure import Estimator, Maps


def make_estimator(
    spec: Mapping[str, Any], model: Path | None, device: str
) -> tuple[Estimator, dict[str, str]]:
    """Return `distance_transform`, which has no settings, model or device to record."""
    return distance_transform, {}


def distance_transform(images: Images) -> Maps:
    """Distance in pixels of each ink pixel to the nearest background pixel, 0 on the background.

    For drawings and digits: the middle of a stroke is near, the background far. See `ink_mask`.
    """
    maps = np.zeros(images.shape[:3], np.float32)
    for index, grey in enumerate(grey_levels(images)):
        maps[index] = ndimage.distance_transform_edt(ink_mask(grey))
    return maps


def grey_levels(images: Images) -> Images:
    """ITU-R BT.601 luma of uint8 (N, H, W, 3), rounded to uint8 (N, H, W); grey stays as it is."""
    luma: npt.NDArray[np.float64] = images @ np.array([0.299, 0.587, 0.114])
    return np.rint(luma).astype(np.uint8)


def ink_mask(grey: Images) -> npt.NDArray[np.bool_]:
    """Which pixels of a uint8 image (H, W) are ink: bool (H, W), all False for a constant image.

    Otsu's threshold parts bright from dark. Ink is the side that the image's border holds less of,
    since a border is mostly background; on a tie it is the bright side.
    """
    bright = grey > otsu_threshold(grey)
    border = np.concatenate([bright[0], bright[-1], bright[1:-1, 0], bright[1:-1, -1]])
    return ~bright if border.mean() > 0.5 and not bright.all() else bright


def otsu_threshold(grey: Images) -> int:
    """The level t that parts uint8 values best into <= t and > t (Otsu 1979).

    It maximises the variance between the two classes. A constant image gives its own level, so
    that no value lies above.
    """
    counts = np.bincount(grey.ravel(), minlength=256)
    below = np.cumsum(counts)
    above = below[-1] - below
    total_below = np.cumsum(counts * np.arange(256))
    total_above = total_below[-1] - total_below
    parts = np.flatnonzero((below > 0) & (above > 0))
    if not len(parts):
        return int(grey.flat[0])
    below, above = below[parts], above[parts]
    gap = total_above[parts] / above - total_below[parts] / below
    return int(parts[np.argmax(below * above * gap**2)])
