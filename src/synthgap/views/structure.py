"""Structure views: what of an image remains without colour and texture (paper A, section 3.1).

Paper A estimates depth with Depth Anything V2. Estimators stand behind one interface here, so the
offline default can use a distance transform instead, which needs no model.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from synthgap.errors import UserError
from synthgap.views.derived import Derived, Images, View

Maps = npt.NDArray[np.float32]
Estimator = Callable[[Images], Maps]
"""Maps uint8 images (N, H, W, 3) to float32 (N, H, W), larger meaning nearer, or farther if metric.

An estimator's module has `make_estimator(spec, model, device)`: the view's options, the folder of
the model's weights and torch's device. It returns the estimator and what to record of it.
"""


def make_view(
    spec: dict[str, Any], estimator: Estimator, about: dict[str, str] | None = None
) -> View:
    """The view `depth`; see `synthgap.views.make_view`.

    spec: `normalise` (see `to_levels`), `max_depth` and `bits`. about: recorded with each image.
    The images are grey, (N, H, W), uint8 or uint16. A classifier reads them as three equal channels
    of 8 bits, as in paper A.
    """
    normalise, bits = spec.get("normalise", "image"), spec.get("bits", 8)

    def view(images: Images, seeds: Sequence[int]) -> Derived:
        maps = estimator(images)
        if not np.isfinite(maps).all():
            raise UserError(f"structure estimator {spec['estimator']!r} returned NaN or infinity")
        levels, counts = to_levels(maps, normalise, spec.get("max_depth"), bits)
        how = {"estimator": spec["estimator"], "normalise": normalise} | (about or {})
        return Derived(levels, how, counts)

    return view


def to_levels(
    maps: Maps, normalise: str = "image", max_depth: float | None = None, bits: int = 8
) -> tuple[npt.NDArray[np.uint8] | npt.NDArray[np.uint16], dict[str, int]]:
    """Quantise maps to grey levels.

    maps: float32 (N, H, W).
    normalise: `image` stretches each map by its own minimum and maximum to the full range, as
      paper A does; a constant map becomes zeros (the published code divides by zero there).
      `metric` keeps the range: level 0 is a depth of 0 and the largest level is `max_depth`, in the
      unit of the model, metres for a metric one.
    bits: 8 or 16 a pixel.

    Returns uint8 or uint16 (N, H, W); and counts: `constant_maps`, and `clipped_values`, those
    outside 0 to `max_depth`.
    """
    if bits not in (8, 16):
        raise UserError(f"bits: 8 or 16, not {bits!r}")
    top = (1 << bits) - 1
    counts = {"constant_maps": 0, "clipped_values": 0}
    if not maps.size:
        return maps.astype(np.uint8) if bits == 8 else maps.astype(np.uint16), counts
    low, high = maps.min(axis=(1, 2), keepdims=True), maps.max(axis=(1, 2), keepdims=True)
    counts["constant_maps"] = int(np.count_nonzero(low == high))
    if normalise == "image":
        # In float64: 16 bits are more than half of float32's digits.
        span = np.where(high > low, high - low, 1).astype(np.float64)
        shares = (maps - low) / span
    elif normalise == "metric" and max_depth:
        shares = maps / np.float64(max_depth)
        counts["clipped_values"] = int(np.count_nonzero((shares < 0) | (shares > 1)))
        np.clip(shares, 0, 1, out=shares)
    else:
        raise UserError(
            "normalise: `image`, or `metric` with the `max_depth` that becomes the largest level"
        )
    levels = np.rint(shares * top)
    return levels.astype(np.uint8) if bits == 8 else levels.astype(np.uint16), counts
