"""Views: what of an image is kept (structure, texture, a frequency band, a part).

One entry a kind, naming the module that makes it. Modules are imported when used, and a stage can
name the code that its view depends on with `modules_of`.
"""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synthgap.errors import UserError, suggest
from synthgap.views.derived import Derived, Images, View

# A module has `make_view(spec)`; that of `depth` takes the estimator, too.
_MODULES = {
    "low_pass": "synthgap.views.frequency",
    "high_pass": "synthgap.views.frequency",
    "band_pass": "synthgap.views.frequency",
    "depth": "synthgap.views.structure",
    "patches": "synthgap.views.patches",
    "center_crop": "synthgap.views.patches",
    "random_crops": "synthgap.views.patches",
    "resize": "synthgap.views.fidelity",
    "jpeg": "synthgap.views.fidelity",
}
_SETTINGS = {
    "low_pass": {"half_width", "mask", "encode"},
    "high_pass": {"half_width", "mask", "encode"},
    "band_pass": {"low", "high", "mask", "encode"},
    "depth": {"estimator", "normalise", "max_depth", "bits"},
    "patches": {"size"},
    "center_crop": {"size"},
    "random_crops": {"size", "count"},
    "resize": {"size"},
    "jpeg": {"quality", "chroma"},
}
_REQUIRED = {"half_width", "low", "high", "size", "quality"}
# What a job's options have besides: how images are stored, where a model is from.
_OF_JOBS = {"kind", "codec", "model", "revision", "batch_size"}
# Structure estimators; modules with `make_estimator(spec, model, device)`.
ESTIMATORS = {
    "distance-transform": "synthgap.views.distance_transform",
    "depth-anything": "synthgap.views.depth_anything",
}
_ESTIMATOR_SETTINGS = {
    "distance-transform": set[str](),
    "depth-anything": {"input_size", "interpolation", "dtype"},
}

VIEW_KINDS = tuple(_MODULES)


def modules_of(spec: Mapping[str, Any]) -> list[str]:
    """The dotted names of the modules that make a view. UserError on an unknown kind."""
    kind = spec.get("kind", "")
    if kind not in _MODULES:
        raise UserError(f"unknown view kind `{kind}`{suggest(str(kind), VIEW_KINDS)}")
    if kind != "depth":
        return [_MODULES[kind]]
    estimator = spec.get("estimator", "")
    if estimator not in ESTIMATORS:
        raise UserError(
            f"unknown structure estimator `{estimator}`{suggest(str(estimator), ESTIMATORS)}"
        )
    return [_MODULES[kind], ESTIMATORS[estimator]]


def make_view(spec: Mapping[str, Any], *, model: Path | None = None, device: str = "cpu") -> View:
    """Return the function that derives a view, with its model loaded if it has one.

    The settings are `kind` and what it takes, sizes in pixels, half-widths in cycles an image:

        {"kind": "low_pass", "half_width": 4, "mask": "rectangle", "encode": "clip"}
        {"kind": "high_pass", "half_width": 4, "mask": "rectangle", "encode": "offset"}
        {"kind": "band_pass", "low": 2, "high": 6, "mask": "rectangle", "encode": "offset"}
        {"kind": "depth", "estimator": "distance-transform", "normalise": "image", "bits": 8}
        {"kind": "patches", "size": 8}
        {"kind": "center_crop", "size": 16}
        {"kind": "random_crops", "size": 16, "count": 4}
        {"kind": "resize", "size": 16}
        {"kind": "jpeg", "quality": 75, "chroma": "4:2:0"}

    What may be left out has its default above, save that a band from 0 is a low-pass and stored as
    one; `synthgap.views.quantise` has the ways to `encode`, `synthgap.views.depth_anything` the
    settings of that estimator.

    Args:
        spec: such settings.
        model: folder of the weights, for an estimator that has some.
        device: torch's, for the same.

    Returns:
        A function that takes images, uint8 (N, H, W, 3), and a seed >= 0 for each (`patches` and
        `random_crops` draw from it), and returns `Derived`. Up to a model's rounding, an image's
        view does not depend on the others of the call. It raises UserError on settings that do not
        suit the images, other images, or seeds that do not match them.

    Raises:
        UserError: an unknown or missing kind or estimator.

    Examples:
        >>> view = make_view({"kind": "resize", "size": 2})
        >>> images = np.full((1, 4, 4, 3), 7, np.uint8)
        >>> view(images, [0]).images.shape
        (1, 2, 2, 3)
        >>> make_view({"kind": "lowpass"})
        Traceback (most recent call last):
        synthgap.errors.UserError: unknown view kind `lowpass`; did you mean `low_pass`?
    """
    modules = modules_of(spec)
    known = _SETTINGS[spec["kind"]] | _ESTIMATOR_SETTINGS.get(spec.get("estimator", ""), set())
    for name in spec:
        if name not in known | _OF_JOBS:
            raise UserError(f"view {spec['kind']} has no `{name}`{suggest(name, known)}")
    for name in _REQUIRED & _SETTINGS[spec["kind"]]:
        if name not in spec:
            raise UserError(f"view {spec['kind']} needs `{name}`")
    module = importlib.import_module(modules[0])
    if spec["kind"] == "depth":
        estimator, about = importlib.import_module(modules[1]).make_estimator(spec, model, device)
        derive = module.make_view(dict(spec), estimator, about)
    else:
        derive = module.make_view(dict(spec))

    def view(images: Images, seeds: Sequence[int]) -> Derived:
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
            raise UserError(
                f"images must be uint8 (N, H, W, 3), not {images.dtype} of shape {images.shape}"
            )
        if len(seeds) != len(images):
            raise UserError(f"{len(images)} images need as many seeds, not {len(seeds)}")
        derived: Derived = derive(images, seeds)
        return derived

    return view
