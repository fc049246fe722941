"""The Inception of FID: torch-fidelity's port of TensorFlow's graph of 2015-12-05.

Its own resize to 299 px, TensorFlow 1's bilinear without antialiasing, is part of the network, so
images enter at their own size. Layer `2048`: the features after the last pooling, which FID, KID
and their kind read.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from synthgap import tensor_files
from synthgap.encoders import Images, Vectors
from synthgap.encoders.network import NetworkEncoder, dtype_of, layer_of, weights_digest
from synthgap.errors import UserError

WIDTH = 2048


def make_encoder(spec: Mapping[str, Any], model: Path, device: str) -> NetworkEncoder:
    """Return the encoder that options of family `inception` describe; see `synthgap.encoders`.

    model: weights-inception-2015-12-05-6726825d.pth of torch-fidelity's releases.
    """
    layer = layer_of(spec)
    name, dtype = dtype_of(spec)
    if dtype != torch.float32:
        raise UserError(f"dtype: inception computes in float32, as FID's reference, not in {name}")
    network = _load(model).to(device)

    def run(images: Images) -> Vectors:
        pixels = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).contiguous()
        [features] = network(pixels)
        vectors: Vectors = features.cpu().numpy()
        return vectors

    return NetworkEncoder(
        run,
        width=WIDTH,
        identity={
            "family": "inception",
            "weights": weights_digest(model),
            "layer": layer,
            "dtype": name,
            "preprocessing": {"image_size": 299, "interpolation": "tensorflow-1-bilinear"},
        },
        spec=spec,
        model=model,
        device=device,
    )


def _load(path: Path) -> Any:
    """Return the network with the weights of a file."""
    from torch_fidelity.feature_extractor_inceptionv3 import (  # type: ignore[import-untyped,unused-ignore]
        FeatureExtractorInceptionV3,
    )

    weights = tensor_files.load(path)
    # That class reads files with an unpickler that would run code; what it gets here is a copy of
    # what the safe one has read.
    copy = io.BytesIO()
    torch.save(weights, copy)
    copy.seek(0)
    try:
        return FeatureExtractorInceptionV3("inception", ["2048"], copy)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise UserError(f"{path} holds no weights of FID's Inception: {error}") from error
