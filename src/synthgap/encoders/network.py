"""What encoders have in common: batches that fit, precision, and the weights' digest.

Features feed means, covariances and distances that are compared with published numbers, so they
are computed in float32 unless told otherwise, on a GPU too and without TF32: bfloat16 keeps eight
bits of each coordinate, and what it saves is minutes of 50 000 images.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from synthgap.devices import is_too_large
from synthgap.encoders import LAYERS, Images, Vectors
from synthgap.encoders.preprocessing import Preprocessing
from synthgap.errors import UserError, suggest

log = logging.getLogger("synthgap")

DTYPES = ("auto", "float32", "bfloat16", "float16")
BATCH_SIZE = 64


class NetworkEncoder:
    """A network as an `Encoder`: images of one size go through it in batches that fit.

    Args:
        run: the network, from uint8 images (n, h, w, 3) to vectors (n, width).
        preprocessing: of an image before; None where `run` takes images as they are.
        identity: see `Encoder`.
        spec: for `name` and `batch_size`, images a forward pass. Halved, for good, when memory
            runs out.
    """

    def __init__(
        self,
        run: Callable[[Images], Vectors],
        *,
        width: int,
        identity: dict[str, Any],
        spec: Mapping[str, Any],
        model: Path,
        device: str,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        self._run, self._preprocessing = run, preprocessing
        self.name = str(spec.get("name") or model.name)
        self.width, self.identity, self.device = width, identity, device
        self.fits: int = spec.get("batch_size", BATCH_SIZE)

    def prepare(self, image: Images) -> Images:
        """Return one image, uint8 (H, W, 3), as `encode_prepared` takes it."""
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise UserError(
                f"images must be uint8 (H, W, 3), not {image.dtype} of shape {image.shape}"
            )
        return self._preprocessing(image) if self._preprocessing else image

    def encode(self, images: Sequence[Images] | Images) -> Vectors:
        """Return the vectors, float32 (N, width), of uint8 images (H, W, 3); sizes may differ.

        Raises:
            UserError: not such images, or the device has no room for a single one.
        """
        return self.encode_prepared([self.prepare(image) for image in images])

    def encode_prepared(self, images: Sequence[Images]) -> Vectors:
        """Return the vectors, float32 (N, width), of prepared images."""
        vectors = np.empty((len(images), self.width), np.float32)
        by_size: dict[tuple[int, ...], list[int]] = {}
        for place, image in enumerate(images):
            by_size.setdefault(image.shape, []).append(place)
        for places in by_size.values():
            done = 0
            while done < len(places):
                part = places[done : done + self.fits]
                found = self._batch(np.stack([images[place] for place in part]))
                # Out here no traceback holds on to tensors any more.
                if found is None:
                    self._halve(len(part))
                else:
                    vectors[part] = found
                    done += len(part)
        return vectors

    def _batch(self, images: Images) -> Vectors | None:
        """Return the vectors of one batch, or None where it does not fit in memory."""
        try:
            # TF32 keeps ten bits; and a resumed job is to find the same algorithms.
            with (
                torch.inference_mode(),
                torch.backends.cudnn.flags(
                    enabled=True, benchmark=False, deterministic=True, allow_tf32=False
                ),
            ):
                return self._run(images)
        except RuntimeError as error:
            if not is_too_large(error):
                raise
            return None

    def _halve(self, tried: int) -> None:
        """Go on with batches half as large as the one that did not fit."""
        if self.device != "cpu":
            torch.cuda.empty_cache()
        if tried == 1:
            raise UserError(
                f"{self.name}: not even one image fits in the memory of {self.device}; take a "
                "larger device or a smaller encoder"
            )
        self.fits = tried // 2
        log.info("%d images do not fit in memory; going on with %d", tried, self.fits)


def on_device(
    forward: Callable[[Tensor], Tensor],
    preprocessing: Preprocessing,
    dtype: torch.dtype,
    device: str,
) -> Callable[[Images], Vectors]:
    """Return what normalises prepared images and runs `forward` on them.

    forward: from normalised images (n, 3, side, side) to vectors (n, d), both of `dtype`.
    """
    mean = torch.tensor(preprocessing.mean, device=device).view(3, 1, 1)
    std = torch.tensor(preprocessing.std, device=device).view(3, 1, 1)

    def run(images: Images) -> Vectors:
        pixels = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 255
        vectors: Vectors = forward(((pixels - mean) / std).to(dtype)).float().cpu().numpy()
        return vectors

    return run


def dtype_of(spec: Mapping[str, Any]) -> tuple[str, torch.dtype]:
    """Return the compute dtype that an encoder's options ask for; `auto` is float32 (see above)."""
    name = spec.get("dtype", "auto")
    if name not in DTYPES:
        raise UserError(f"unknown dtype `{name}`{suggest(str(name), DTYPES)}")
    name = "float32" if name == "auto" else name
    return name, getattr(torch, name)


def layer_of(spec: Mapping[str, Any]) -> str:
    """Return the layer that an encoder's options ask for, by default its family's first."""
    layers = LAYERS[spec["family"]]
    layer = spec.get("layer") or layers[0]
    if layer not in layers:
        raise UserError(
            f"encoder {spec['family']} has no layer `{layer}`{suggest(str(layer), layers)}"
        )
    return str(layer)


def check_side(side: int, wanted: int, folder: Path) -> None:
    """Refuse an `image_size` that a network's positions are not made for."""
    if side != wanted:
        raise UserError(f"image_size: {folder} takes images of {wanted} px, not {side}")


def missing_weights(folder: Path, missing: Sequence[str]) -> None:
    """Refuse weights that lack tensors of the network, which would stay as drawn at random."""
    if missing:
        raise UserError(
            f"{folder}: the weights lack {len(missing)} tensors of the network, the first being "
            f"{sorted(missing)[0]}"
        )


def weights_digest(model: Path) -> str:
    """Return the SHA-256 of a weights file, or of the one in a folder; of shards, of their list."""
    files = [model] if model.is_file() else sorted(model.glob("*.safetensors"))
    digests = []
    for path in files:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return (
        digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    )
