"""DINOv2, with or without registers, through transformers (Oquab et al. 2023).

Its only layer is `class_token`, the class token after the last layer norm, which is what FD-DINOv2
reads (Stein et al. 2023). Their reference code squeezes the whole image to 224 px (`crop: squash`);
DINOv2's own evaluation resizes to 256 and crops (`crop: 0.875`).

The published weights have positions for 518 px, which are interpolated for smaller images.
`positions: reference` does so as DINOv2's own code, and so the reference of FD-DINOv2, does: as if
there were a tenth of a patch more a side, which moves the sampling points a little; `transformers`
as that library does, without it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from synthgap.encoders.network import (
    NetworkEncoder,
    dtype_of,
    layer_of,
    on_device,
    weights_digest,
)
from synthgap.encoders.preprocessing import Preprocessing
from synthgap.encoders.transformers_folder import load
from synthgap.errors import UserError, suggest

POSITIONS = ("transformers", "reference")
OFFSET = 0.1  # patches, of DINOv2's own interpolation
KINDS = {"dinov2": "Dinov2Model", "dinov2_with_registers": "Dinov2WithRegistersModel"}


def make_encoder(spec: Mapping[str, Any], model: Path, device: str) -> NetworkEncoder:
    """Return the encoder that options of family `dinov2` describe; see `synthgap.encoders`."""
    layer, preprocessing = layer_of(spec), Preprocessing.of(spec)
    positions = spec.get("positions", "transformers")
    if positions not in POSITIONS:
        raise UserError(f"unknown positions `{positions}`{suggest(str(positions), POSITIONS)}")
    name, dtype = dtype_of(spec)
    network = load(KINDS, model, dtype, device)
    patch, side = network.config.patch_size, preprocessing.image_size
    if side % patch:
        raise UserError(f"image_size: {side} is no multiple of this model's patches of {patch} px")
    if positions == "reference":
        if network.config.model_type != "dinov2":
            raise UserError("positions: `reference` is of DINOv2 without registers")
        _reference_positions(network.embeddings, side // patch)

    def forward(pixels: Tensor) -> Tensor:
        vectors: Tensor = network(pixels).pooler_output
        return vectors

    return NetworkEncoder(
        on_device(forward, preprocessing, dtype, device),
        width=network.config.hidden_size,
        identity={
            "family": "dinov2",
            "weights": weights_digest(model),
            "layer": layer,
            "positions": positions,
            "dtype": name,
            "preprocessing": preprocessing.identity(),
        },
        spec=spec,
        model=model,
        device=device,
        preprocessing=preprocessing,
    )


def _reference_positions(embeddings: Any, patches: int) -> None:
    """Replace the positions by those that DINOv2's own code finds for `patches` a side."""
    whole = embeddings.position_embeddings.data
    side = round((whole.shape[1] - 1) ** 0.5)
    if side == patches:
        return
    grid = whole[:, 1:].float().view(1, side, side, -1).permute(0, 3, 1, 2)
    scale = (patches + OFFSET) / side
    found = F.interpolate(grid, scale_factor=(scale, scale), mode="bicubic")
    rows = found.permute(0, 2, 3, 1).flatten(1, 2).to(whole.dtype)
    embeddings.position_embeddings = nn.Parameter(torch.cat([whole[:, :1], rows], dim=1))
