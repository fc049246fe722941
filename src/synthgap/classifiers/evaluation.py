"""Trained classifiers: predict, take features, save and load."""

import json
from collections.abc import Callable, Mapping, Sequence
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
from synthgap.devices import take_device
from synthgap.errors import UserError

# Mean and deviation of ImageNet's red, green and blue, on the scale 0..1.
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)


def set_up(threads: int, gpus: int | None) -> torch.device:
    """Limit torch to `threads` CPU threads; return the device to compute on (see `take_device`).

    On the CPU the same command then gives the same bytes each time; CUDA's convolutions and
    scattered sums may differ in the last bits.
    """
    torch.set_num_threads(threads)
    if (device := torch.device(take_device(gpus))).type != "cpu":
        return device
    if threads > 1:
        # With two threads, torch 2.15's oneDNN corrupted memory in the backward pass of narrow
        # BagNets (a crash in most runs); with one thread, or without oneDNN, none was seen.
        torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
    # The same as `use_deterministic_algorithms`, which would import torch's compiler (1.4 s).
    torch.set_deterministic_debug_mode("error")
    # Nothing here reads memory before writing it; filling it first costs some 5 % of a training.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    return device


def normalise(images: Tensor) -> Tensor:
    """Return uint8 images (n, h, w, 3) as float32 (n, 3, h, w), channels last in memory."""
    mean = torch.tensor(MEAN, device=images.device) * 255
    deviation = torch.tensor(DEVIATION, device=images.device) * 255
    return ((images.float() - mean) / deviation).permute(0, 3, 1, 2)


def in_batches(
    function: Callable[[Tensor], Tensor], model: nn.Module, images: Tensor, batch_size: int
) -> Tensor:
    """Return `function` of normalised batches of uint8 images (n, h, w, 3), joined, on the CPU.

    `model` is put into evaluation mode; `function` runs on its device, without gradients.
    """
    device = next(model.parameters()).device
    model.eval()
    with torch.inference_mode():
        parts = [
            function(normalise(batch.to(device))).cpu() for batch in torch.split(images, batch_size)
        ]
    return torch.cat(parts)


def predict(model: nn.Module, images: NDArray[np.uint8], batch_size: int) -> NDArray[np.float32]:
    """Return class probabilities, float32 (n, classes), of images (n, h, w, 3), n >= 1."""
    logits = in_batches(model, model, torch.from_numpy(images), batch_size)
    probabilities: NDArray[np.float32] = logits.float().softmax(1).numpy()
    return probabilities


def extract(model: nn.Module, images: NDArray[np.uint8], batch_size: int) -> NDArray[np.float32]:
    """Return features before the last layer, float32 (n, d), of images (n, h, w, 3), n >= 1."""
    vectors = in_batches(
        lambda batch: features(model, batch), model, torch.from_numpy(images), batch_size
    )
    found: NDArray[np.float32] = vectors.float().numpy()
    return found


def save(model: nn.Module, spec: Mapping[str, Any], classes: Sequence[str], path: Path) -> None:
    """Write the weights atomically, with `spec` and class names in the file's metadata.

    The bytes depend on nothing but the arguments: safetensors sorts tensors by name but not
    its metadata, so that is a single entry.
    """
    description = json.dumps({"architecture": spec, "classes": list(classes)}, sort_keys=True)
    weights = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
    with atomic_path(path) as part:
        save_file(weights, part, {"synthgap": description})


def load(path: Path) -> tuple[nn.Module, dict[str, Any], list[str]]:
    """Return a saved model in evaluation mode on the CPU, its specification and class names.

    Raises:
        UserError: the file was not written by `save`.
    """
    try:
        with safe_open(path, framework="pt") as file:
            description = json.loads((file.metadata() or {})["synthgap"])
            spec, classes = description["architecture"], description["classes"]
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is not a classifier of this workflow ({error}); train it with train_classifier"
        ) from error
    model = build(spec, len(classes))
    model.load_state_dict(weights)
    return model.to(memory_format=torch.channels_last).eval(), spec, classes
