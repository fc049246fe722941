"""A vision transformer of timm, from a folder as on the hub: config.json and model.safetensors.

Layers: `token`, the class token, and `mean`, the mean of the patches' tokens, both after the last
layer norm.
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
    missing_weights,
    on_device,
    weights_digest,
)
from synthgap.encoders.preprocessing import Preprocessing
from synthgap.errors import UserError
from synthgap.late_compiler import late_compiler
from synthgap.model_folder import read_config, read_weights

# What constructors raise on options they do not take.
REFUSALS = (TypeError, ValueError, AssertionError, KeyError, RuntimeError)


def make_encoder(spec: Mapping[str, Any], model: Path, device: str) -> NetworkEncoder:
    """Return the encoder that options of family `timm` describe; see `synthgap.encoders`."""
    config = read_config(model)
    if "architecture" not in config:
        raise UserError(f"{model} is no model of timm: its config.json names no `architecture`")
    options = config.get("model_args") or {}
    return transformer(config["architecture"], options, read_weights(model), spec, model, device)


def transformer(
    architecture: str,
    options: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    spec: Mapping[str, Any],
    model: Path,
    device: str,
) -> NetworkEncoder:
    """Return the encoder of a vision transformer of timm with the given weights.

    Raises:
        UserError: no such architecture, not one with tokens, or weights that are not its own.
    """
    with late_compiler():
        import timm

    layer, preprocessing = layer_of(spec), Preprocessing.of(spec)
    name, dtype = dtype_of(spec)
    chosen = dict(options) | {"num_classes": 0, "global_pool": "token"}
    try:
        network = timm.create_model(architecture, pretrained=False, **chosen)
        # The head is not read here, so its weights are more than is needed.
        wanted = network.state_dict().keys()
        missing_weights(model, [tensor for tensor in wanted if tensor not in weights])
        network.load_state_dict({tensor: weights[tensor] for tensor in wanted})
    except REFUSALS as error:
        raise UserError(f"{model}: cannot be loaded as timm's {architecture}: {error}") from error
    prefix = getattr(network, "num_prefix_tokens", 0)
    if not prefix:
        raise UserError(f"{model}: {architecture} is no vision transformer with a class token")
    check_side(preprocessing.image_size, network.patch_embed.img_size[0], model)
    network.to(device, dtype).eval()

    def forward(pixels: Tensor) -> Tensor:
        tokens: Tensor = network.forward_features(pixels)
        return tokens[:, 0] if layer == "token" else tokens[:, prefix:].mean(dim=1)

    return NetworkEncoder(
        on_device(forward, preprocessing, dtype, device),
        width=network.num_features,
        identity={
            "family": spec["family"],
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
