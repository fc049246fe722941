"""LPIPS as a Euclidean distance: images become vectors, and |e(x) - e(y)|^2 is LPIPS(x, y).

LPIPS normalises a network's activations to unit length at each position, weights the squared
differences of channels with w >= 0, averages over positions and adds up the layers. That is the
squared distance of the vectors that hold sqrt(w / positions) times the normalised activations of
all layers. So the most similar image is a nearest neighbour (`synthgap.metrics.nearest`).

Source: Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric (CVPR
2018), version 0.1 of the weights w, which the authors' package `lpips` ships; none of them is
negative. The backbones are torchvision's.
"""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import math
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from synthgap import tensor_files
from synthgap.devices import is_too_large
from synthgap.errors import UserError

Network = Literal["alex", "vgg"]
Images = NDArray[np.uint8]
Vectors = NDArray[np.float32]

VERSION = "0.1"
# The last operation of each layer that is compared, as torchvision numbers them.
_LAST: dict[Network, tuple[int, ...]] = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29)}
# Below that, a pooling has nothing left to pool.
SMALLEST: dict[Network, int] = {"alex": 31, "vgg": 16}
# What the authors' code takes off and divides by, of values in -1..1.
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_TINY = 1e-10


class Perceptual:
    """Embeds images so that squared distances are LPIPS.

    Args:
        network: "alex" is what the authors recommend for comparing images, and smaller.
        weights: the backbone's weights on ImageNet, a file of tensors by torchvision's names:
            `alexnet-owt-7be5be79.pth` or `vgg16-397923af.pth` of download.pytorch.org/models.
        device: torch's.
        resize: side in pixels that images are brought to first, bilinearly and antialiased;
            None leaves them as they are.

    Raises:
        UserError: an unknown network, weights that cannot be read or are another network's,
            a resize below what the network takes, or no `lpips` package.
    """

    def __init__(
        self, network: Network, weights: Path, device: str = "cpu", resize: int | None = None
    ) -> None:
        if network not in get_args(Network):
            raise UserError(f"lpips: no network {network!r}; choose from {get_args(Network)}")
        self.network, self.device, self.resize = network, torch.device(device), resize
        if resize is not None:
            self._check_size(resize, resize)
        with Path(weights).open("rb") as file:
            self.digest = hashlib.file_digest(file, "sha256").hexdigest()
        self.layers = _backbone(network, Path(weights)).to(self.device)
        self.channel_weights = [w.to(self.device) for w in linear_weights(network)]
        self.shift = torch.tensor(_SHIFT, device=self.device).view(3, 1, 1)
        self.scale = torch.tensor(_SCALE, device=self.device).view(3, 1, 1)

    @property
    def variant(self) -> str:
        """What of it a metric's name tells: `lpips_alex`, `lpips_alex_resize64`."""
        return f"lpips_{self.network}" + (f"_resize{self.resize}" if self.resize else "")

    @property
    def settings(self) -> dict[str, str]:
        """What else shaped its vectors."""
        return {"lpips_version": VERSION, "weights": self.digest}

    def width(self, height: int, width: int) -> int:
        """Length of the vector of an image of that size, in pixels."""
        blank = np.zeros((1, height, width, 3), np.uint8)
        return int(self.embed(blank).shape[1])

    def embed(self, images: Images) -> Vectors:
        """Return the vectors, float32 (n, d), of uint8 images (n, height, width, 3) in one batch.

        Raises:
            UserError: not such images, images too small for the network, or too many for memory.
        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
            raise UserError(
                f"lpips: images must be uint8 (n, height, width, 3), not {images.dtype} of shape "
                f"{images.shape}"
            )
        if self.resize is None:
            self._check_size(*images.shape[1:3])
        try:
            # TF32 keeps ten bits; and a resumed job is to find the same algorithms.
            with (
                torch.inference_mode(),
                torch.backends.cudnn.flags(
                    enabled=True, benchmark=False, deterministic=True, allow_tf32=False
                ),
            ):
                return self._embed(images)
        except RuntimeError as error:
            if not is_too_large(error):
                raise
            raise UserError(
                f"lpips: {len(images)} images of {images.shape[1:3]} pixels do not fit in the "
                f"memory of {self.device}; lower the batch size"
            ) from error

    def _embed(self, images: Images) -> Vectors:
        # A copy: what is mapped from a file cannot be written, and torch warns of that.
        values = torch.from_numpy(np.array(images)).to(self.device).permute(0, 3, 1, 2).float()
        if self.resize is not None:
            values = F.interpolate(
                values,
                size=(self.resize, self.resize),
                mode="bilinear",
                align_corners=False,
                antialias=True,
            )
        values = (values / 127.5 - 1 - self.shift) / self.scale
        parts = []
        for layer, weights in zip(self.layers, self.channel_weights, strict=True):
            values = layer(values)
            unit = values / (values.square().sum(1, keepdim=True).sqrt() + _TINY)
            factor = (weights / math.prod(values.shape[2:])).sqrt()
            parts.append((unit * factor.view(1, -1, 1, 1)).flatten(1))
        found: Vectors = torch.cat(parts, 1).cpu().numpy()
        return found

    def _check_size(self, height: int, width: int) -> None:
        least = SMALLEST[self.network]
        if min(height, width) < least:
            raise UserError(
                f"lpips: images of {width} x {height} pixels are too small for {self.network}, "
                f"which takes {least} or more; set `resize`, which enters the metric's name"
            )


def linear_weights(network: Network) -> list[Tensor]:
    """Return the weights w of each layer's channels, all of them >= 0, as `lpips` ships them.

    Raises:
        UserError: the package is not there, or ships others.
    """
    # Found, and not imported: it would import torchvision's whole zoo and more.
    found = importlib.util.find_spec("lpips")
    if found is None or found.origin is None:
        raise UserError("lpips: the package `lpips` is missing, which holds the metric's weights")
    path = Path(found.origin).parent / "weights" / f"v{VERSION}" / f"{network}.pth"
    state = _read(path)
    try:
        weights = [state[f"lin{n}.model.1.weight"].flatten().float() for n in range(5)]
    except KeyError as error:
        raise UserError(f"{path} holds no weights of LPIPS: {error} is missing") from None
    if any(bool((w < 0).any()) for w in weights):
        # Then LPIPS were no distance; the shipped files have none.
        raise UserError(f"{path} holds negative weights; LPIPS {VERSION} as published has none")
    return weights


def _backbone(network: Network, path: Path) -> torch.nn.ModuleList:
    """Return the network's layers up to the last that is compared, one after the other."""
    from torchvision import models

    with torch.device("meta"):  # so that no numbers are drawn for what the file holds
        whole = models.alexnet(weights=None) if network == "alex" else models.vgg16(weights=None)
    operations = list(whole.features)
    ends = [0, *(last + 1 for last in _LAST[network])]
    layers = torch.nn.ModuleList(
        torch.nn.Sequential(*operations[start:end]) for start, end in itertools.pairwise(ends)
    )
    state = _read(path)
    features = {
        name.removeprefix("features."): tensor
        for name, tensor in state.items()
        if name.startswith("features.")
    }
    try:
        whole.features.load_state_dict(features, strict=True, assign=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise UserError(f"{path} holds no weights of torchvision's {network}: {reason}") from error
    return layers.float().eval().requires_grad_(False)


def _read(path: Path) -> dict[str, Any]:
    state = tensor_files.load(path)
    if not isinstance(state, dict):
        raise UserError(f"{path} holds no weights by name")
    return state
