"""Views: what of an image is kept (structure, texture, a frequency band, a part).

One entry a kind, naming the module that makes it. Modules are imported when used, and a stage can
name the code that its view depends on with `module_of`.
"""

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from synthgap.errors import UserError, suggest

_MODULES = {
    "low_pass": "synthgap.views.frequency",
    "high_pass": "synthgap.views.frequency",
    "band_pass": "synthgap.views.frequency",
    "depth": "synthgap.views.structure",
    "patches": "synthgap.views.patches",
    "center_crop": "synthgap.views.patches",
}

VIEW_KINDS = tuple(_MODULES)


def module_of(kind: str) -> str:
    """The dotted name of the module that makes a kind of view. UserError on an unknown kind."""
    if kind not in _MODULES:
        raise UserError(f"unknown view kind `{kind}`{suggest(str(kind), VIEW_KINDS)}")
    return _MODULES[kind]


def apply_view(
    images: npt.NDArray[np.uint8], spec: dict[str, Any], seeds: Sequence[int]
) -> tuple[npt.NDArray[np.uint8], dict[str, Any]]:
    """Derive one view of each image.

    images: uint8 (N, H, W, 3). seeds: one integer >= 0 an image; only `patches` draws from it.
    spec: `kind` and its settings, sizes in pixels, half-widths in cycles an image:
      {"kind": "low_pass", "half_width": 4, "mask": "rectangle", "encode": "clip"}
      {"kind": "high_pass", "half_width": 4, "mask": "rectangle", "encode": "offset"}
      {"kind": "band_pass", "low": 2, "high": 6, "mask": "rectangle", "encode": "offset"}
      {"kind": "depth", "estimator": "distance-transform"}
      {"kind": "patches", "size": 8}
      {"kind": "center_crop", "size": 16}
    `mask` and `encode` may be left out; the values shown are their defaults, save that a band from
    0 is a low-pass and stored as one.

    Returns uint8 (N, h, w, 3), and facts for the record: `kind`, and by kind `clipped_values`,
    `encode`, `mask`, `estimator`, `constant_maps`, `height`, `width`.
    An image's view does not depend on the other images of the call.
    Raises UserError on an unknown or missing kind, settings out of range, other images, or seeds
    that do not match them.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise UserError(
            f"images must be uint8 (N, H, W, 3), not {images.dtype} of shape {images.shape}"
        )
    if len(seeds) != len(images):
        raise UserError(f"{len(images)} images need as many seeds, not {len(seeds)}")
    kind = spec.get("kind", "")
    module = importlib.import_module(module_of(kind))
    views, facts = module.apply(images, spec, seeds)
    return views, {"kind": kind, **facts}
