"""Trained classifiers: predict, take features, save and load."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from synthgap.atomic import atomic_path
from synthgap.classifiers.architectures import build, features
from synthgap.data.decoded import Images, fitted
from synthgap.devices import take_device
from synthgap.errors import UserError

# Mean and deviation of ImageNet's red, green and blue, on the scale 0..1.
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)


def set_up(threads: int, gpus: int | None) -> torch.device:
    """Limit torch to `threads` CPU threads; return the device to compute on (see `take_device`).

    On the CPU the same command then gives the same bytes each time. On a GPU it does so for the
    operations of which CUDA has an exact variant; torch warns of others.
    """
    torch.set_num_threads(threads)
    # Read when CUDA starts; without it, matrix products are not repeatable.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if (device := torch.device(take_device(gpus))).type != "cpu":
        torch.set_deterministic_debug_mode("warn")
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        return device
    if threads > 1:
        # With two threads, torch 2.15's oneDNN corrupted memory in the backward pass of narrow
        # BagNets (a crash in most runs); with one thread, or without oneDNN, none was seen. It may
        # have been what `architectures` now goes around, which was found on other CPUs.
        torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
    # The same as `use_deterministic_algorithms`, which would import torch's compiler (1.4 s).
    torch.set_deterministic_debug_mode("error")
    # Nothing here reads memory before writing it; filling it first costs some 5 % of a training.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    return device


def normalise(images: Tensor) -> Tensor:
    """Return uint8 images (n, h, w, 3) as float32 (n, 3, h, w), channels last in memory."""
    n, height, width, _ = images.shape
    # By rows of pixels and not by pixels, as three numbers at a time leave a CPU's lanes empty.
    mean = torch.tensor(MEAN, device=images.device).mul(255).repeat(width)
    deviation = torch.tensor(DEVIATION, device=images.device).mul(255).repeat(width)
    rows = images.reshape(n, height, width * 3).float().sub_(mean).div_(deviation)
    return rows.view(n, height, width, 3).permute(0, 3, 1, 2)


def standardise(images: Tensor) -> Tensor:
    """Return float images (n, 3, h, w) of 0..1 as `normalise` returns uint8 ones."""
    mean = images.new_tensor(MEAN).view(1, 3, 1, 1)
    deviation = images.new_tensor(DEVIATION).view(1, 3, 1, 1)
    return ((images - mean) / deviation).contiguous(memory_format=torch.channels_last)


def in_batches(
    function: Callable[[Tensor], Tensor], model: nn.Module, images: Images, batch_size: int
) -> Tensor:
    """Return `function` of normalised batches of uint8 images (n, h, w, 3), joined, on the CPU.

    `model` is put into evaluation mode; `function` runs on its device, without gradients.
    """
    device = next(model.parameters()).device
    model.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(images), batch_size):
            batch = torch.from_numpy(np.array(images[start : start + batch_size]))
            parts.append(function(normalise(batch.to(device))).float().cpu())
    return torch.cat(parts)


def predict(model: nn.Module, images: Images, batch_size: int) -> NDArray[np.float32]:
    """Return logits, float32 (n, classes), of images (n, h, w, 3), n >= 1.

    Raises:
        UserError: one is NaN or infinite.
    """
    logits: NDArray[np.float32] = in_batches(model, model, images, batch_size).numpy()
    if not np.isfinite(logits).all():
        bad = int(np.flatnonzero(~np.isfinite(logits).all(axis=1))[0])
        raise UserError(
            f"the classifier's answer to image {bad} of {len(logits)} is NaN or infinite: its "
            "weights are none to use, or the device miscounted; run again, and if it says so "
            "again, delete the classifier (--model) and train it anew"
        )
    return logits


def extract(model: nn.Module, images: Images, batch_size: int) -> NDArray[np.float32]:
    """Return features before the last layer, float32 (n, d), of images (n, h, w, 3), n >= 1."""
    vectors = in_batches(lambda batch: features(model, batch), model, images, batch_size)
    found: NDArray[np.float32] = vectors.numpy()
    return found


@dataclass(frozen=True)
class About:
    """What a classifier's file tells besides its weights."""

    architecture: dict[str, Any]
    classes: list[str]
    """names by index"""
    input_size: int | None = None
    """side in pixels of what it was trained to see; None: the images as they are"""
    train_images: int | None = None
    """how many it was trained on"""
    test_share: float = 1.0
    """of an image's side that it is tested on, the middle"""

    def fit(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return images (n, h, w, 3) as the classifier is tested on them."""
        return np.stack([fitted(image, self.input_size, self.test_share) for image in images])


def save(model: nn.Module, about: About, path: Path) -> None:
    """Write the weights atomically, with `about` in the file's metadata.

    The bytes depend on nothing but the arguments: safetensors sorts tensors by name but not
    its metadata, so that is a single entry.
    """
    description = json.dumps(asdict(about), sort_keys=True)
    weights = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
    with atomic_path(path) as part:
        save_file(weights, part, {"synthgap": description})


def load(path: Path) -> tuple[nn.Module, About]:
    """Return a saved model in evaluation mode on the CPU, and what its file tells of it.

    Raises:
        UserError: the file was not written by `save`, or its weights are of another architecture
            than it says.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = About(**json.loads((file.metadata() or {})["synthgap"]))
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is not a classifier of this workflow ({error}); train it with train_classifier"
        ) from error
    model = build(about.architecture, len(about.classes))
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:3]]
        raise UserError(
            f"{path}: its weights are of another architecture than {about.architecture} with "
            f"{len(about.classes)} classes ({' '.join(lines)}); delete it and run snakemake again"
        ) from None
    return model.to(memory_format=torch.channels_last).eval(), about
