"""Encoders: from images to feature vectors.

One entry a family, naming the module that makes it. Modules are imported when used, and a stage can
name the code that its encoder depends on with `modules_of`.
"""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from synthgap.errors import UserError, suggest

Images = NDArray[np.uint8]
Vectors = NDArray[np.float32]

# A module has `make_encoder(spec, model, device)`.
_MODULES = {
    "clip": "synthgap.encoders.clip",
    "dinov2": "synthgap.encoders.dinov2",
    "inception": "synthgap.encoders.inception",
    "timm": "synthgap.encoders.timm_folder",
    "mocov3": "synthgap.encoders.mocov3",
    "classifier": "synthgap.encoders.classifier",
}
# What of a network is read; the first is the default.
LAYERS = {
    "clip": ("projected", "pooled"),
    "dinov2": ("class_token",),
    "inception": ("2048",),
    "timm": ("token", "mean"),
    "mocov3": ("token", "mean"),
}
_PREPARED = {"layer", "dtype", "image_size", "interpolation", "crop", "mean", "std"}
_SETTINGS = {
    "clip": _PREPARED,
    "dinov2": _PREPARED | {"positions"},
    "inception": {"layer", "dtype"},
    "timm": _PREPARED,
    "mocov3": _PREPARED,
    "classifier": set[str](),
}
# What a job's options have besides: names, where a model is from, how features are stored.
_OF_JOBS = {"family", "name", "model", "revision", "batch_size", "store"}

FAMILIES = tuple(_MODULES)


class Encoder(Protocol):
    """What turns images into feature vectors."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def width(self) -> int:
        """Numbers a vector."""

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides the vectors, as JSON: weights, preprocessing, layer, compute dtype."""

    def prepare(self, image: Images) -> Images:
        """Return one image, uint8 (H, W, 3), as `encode_prepared` takes it.

        Touches no device and may be called from several threads at once.
        """

    def encode_prepared(self, images: Sequence[Images]) -> Vectors:
        """Return the vectors, float32 (N, width), of prepared images."""

    def encode(self, images: Sequence[Images] | Images) -> Vectors:
        """Return the vectors, float32 (N, width), of uint8 images (H, W, 3); sizes may differ.

        Up to a model's rounding, an image's vector does not depend on the others of the call.
        """


def modules_of(spec: Mapping[str, Any]) -> list[str]:
    """The dotted names of the modules that make an encoder. UserError on an unknown family."""
    family = spec.get("family", "")
    if family not in _MODULES:
        raise UserError(f"unknown encoder family `{family}`{suggest(str(family), FAMILIES)}")
    return [_MODULES[family]]


def make_encoder(spec: Mapping[str, Any], *, model: Path, device: str = "cpu") -> Encoder:
    """Return an encoder with its model loaded.

    The settings are `family` and what it takes, sizes in pixels, mean and std on the scale 0..1:

        {"family": "clip", "layer": "projected", "dtype": "auto", "image_size": 224,
         "interpolation": "bicubic", "crop": 1.0, "mean": [0.48, 0.46, 0.41],
         "std": [0.27, 0.26, 0.28]}

    `dinov2`, `timm` and `mocov3` have the same settings and other layers, `dinov2` also
    `positions`; `inception` has `layer` and `dtype`, `classifier` has none. `batch_size` is of the
    device, for all. See the modules for layers, and `synthgap.encoders.preprocessing` for the rest.
    `name` is what the encoder is called; by default the model's file name.

    Args:
        spec: such settings.
        model: folder or file of the weights.
        device: torch's.

    Raises:
        UserError: an unknown family or setting, a value that does not suit the model, or a model
            that is damaged, of another kind, or lacks weights.
    """
    [module] = modules_of(spec)
    known = _SETTINGS[spec["family"]]
    for name in spec:
        if name not in known | _OF_JOBS:
            raise UserError(f"encoder {spec['family']} has no `{name}`{suggest(name, known)}")
    if not Path(model).exists():
        raise UserError(f"encoder {spec['family']}: no such model: {model}")
    encoder: Encoder = importlib.import_module(module).make_encoder(spec, Path(model), device)
    return encoder
