"""Structure views: what of an image remains without colour and texture (paper A, section 3.1).

Paper A estimates depth with Depth Anything V2. Estimators stand behind one interface here, so the
offline default can use the distance transform instead, which needs no model.
"""

import importlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from synthgap.errors import UserError, suggest
from synthgap.views.quantise import to_uint8

Images = npt.NDArray[np.uint8]
Maps = npt.NDArray[np.float32]

# Name -> "module:function". A string, so that an estimator's libraries load only when it is used.
# The function takes uint8 images (N, H, W, 3) and keyword options; it returns float maps (N, H, W)
# of any range, larger meaning nearer.
ESTIMATORS = {
    "distance-transform": "synthgap.views.structure:distance_transform",
}


def estimate(images: Images, estimator: str, **options: Any) -> Maps:
    """Estimate the structure of each image.

    images: uint8 (N, H, W, 3). estimator: a key of ESTIMATORS; options: its keyword arguments.
    Returns float32 (N, H, W), each map stretched to [0, 1] by its own minimum and maximum; a
    constant map becomes zeros.
    Raises UserError on an unknown estimator or option, other images, or a map that is not finite.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise UserError(
            f"images must be uint8 (N, H, W, 3), not {images.dtype} of shape {images.shape}"
        )
    function = _load(estimator)
    try:
        inspect.signature(function).bind(images, **options)
    except TypeError as error:
        raise UserError(f"structure estimator {estimator!r}: {error}") from None
    maps = np.asarray(function(images, **options), np.float32)
    if not np.isfinite(maps).all():
        raise UserError(f"structure estimator {estimator!r} returned NaN or infinity")
    if not maps.size:
        return maps
    low = maps.min(axis=(1, 2), keepdims=True)
    span = maps.max(axis=(1, 2), keepdims=True) - low
    stretched: Maps = (maps - low) / np.where(span > 0, span, 1)
    return stretched


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


def apply(
    images: Images, spec: dict[str, Any], seeds: Sequence[int]
) -> tuple[Images, dict[str, Any]]:
    """The view `depth`: three equal channels of 8 bits; see `synthgap.views.apply_view`.

    Keys of `spec` other than `kind` and `estimator` are the estimator's options.
    """
    options = {key: value for key, value in spec.items() if key not in ("kind", "estimator")}
    maps = estimate(images, spec["estimator"], **options)
    stored, _ = to_uint8(maps[..., None], "clip")
    constant = int(np.count_nonzero(~maps.any(axis=(1, 2))))
    return np.repeat(stored, 3, axis=3), {
        "estimator": spec["estimator"],
        "constant_maps": constant,
    }


def _load(estimator: str) -> Callable[..., npt.NDArray[np.floating]]:
    if estimator not in ESTIMATORS:
        raise UserError(
            f"unknown structure estimator `{estimator}`{suggest(str(estimator), ESTIMATORS)}"
        )
    module, _, name = ESTIMATORS[estimator].partition(":")
    function: Callable[..., npt.NDArray[np.floating]] = getattr(
        importlib.import_module(module), name
    )
    return function
