"""CLIP's image tower through transformers (Radford et al. 2021).

Layers: `projected`, the image's embedding in the space shared with texts, not normalised; `pooled`,
the class token after the last layer norm, before the projection.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from synthgap.encoders.network import (
    NetworkEncoder,
    check_side,
    dtype_of,
    layer_of,
    on_device,
    weights_digest,
)
from synthgap.encoders.preprocessing import Preprocessing
from synthgap.encoders.transformers_folder import load

# A whole CLIP, of which the text tower is left out, or the image tower alone.
KINDS = {
    "clip": "CLIPVisionModelWithProjection",
    "clip_vision_model": "CLIPVisionModelWithProjection",
}


def make_encoder(spec: Mapping[str, Any], model: Path, device: str) -> NetworkEncoder:
    """Return the encoder that options of family `clip` describe; see `synthgap.encoders`."""
    layer, preprocessing = layer_of(spec), Preprocessing.of(spec)
    name, dtype = dtype_of(spec)
    network = load(KINDS, model, dtype, device)
    check_side(preprocessing.image_size, network.config.image_size, model)

    def forward(pixels: Tensor) -> Tensor:
        if layer == "projected":
            vectors: Tensor = network(pixels).image_embeds
        else:
            vectors = network.vision_model(pixels).pooler_output
        return vectors

    config = network.config
    return NetworkEncoder(
        on_device(forward, preprocessing, dtype, device),
        width=config.projection_dim if layer == "projected" else config.hidden_size,
        identity={
            "family": "clip",
            "weights": weights_digest(model),
            "layer": layer,
            "dtype": name,
            "preprocessing": preprocessing.identity(),
        },
        spec=spec,
        model=model,
        device=device,
        preprocessing=preprocessing,
    )
