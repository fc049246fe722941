"""MoCo v3's vision transformers (Chen et al. 2021), as `nyu-visionx/moco-v3-vit-b` has them.

That repository was pushed by the hub's mixin for PyTorch models: model.safetensors with the names
of timm's vision transformer (and a head, which is not read), and a small config.json. The weights'
shapes tell width, depth, patch and image size. Nothing in them tells the heads: config.json's
`num_heads` is taken where it is there (what that file holds is not confirmed), and otherwise those
of the authors' code, 12 for the small and the base model and 16 for the large and the huge one.
The fixed sine and cosine positions are among the weights.

Layers are those of `synthgap.encoders.timm_folder`; the authors' linear probe reads `token`.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from synthgap.encoders.network import NetworkEncoder
from synthgap.encoders.timm_folder import transformer
from synthgap.errors import UserError
from synthgap.model_folder import read_config, read_weights

HEADS = {384: 12, 768: 12, 1024: 16, 1280: 16}  # by width


def make_encoder(spec: Mapping[str, Any], model: Path, device: str) -> NetworkEncoder:
    """Return the encoder that options of family `mocov3` describe; see `synthgap.encoders`."""
    weights = read_weights(model)
    options = _shape(weights, model)
    heads = read_config(model).get("num_heads") or HEADS.get(options["embed_dim"])
    if heads is None:
        raise UserError(
            f"{model}: MoCo v3 has no model of width {options['embed_dim']}, and config.json "
            "names no `num_heads`"
        )
    options["num_heads"] = heads
    return transformer("vit_base_patch16_224", options, weights, spec, model, device)


def _shape(weights: Mapping[str, Tensor], model: Path) -> dict[str, Any]:
    """Return the options of timm's vision transformer that the weights' shapes tell."""
    try:
        width, _, patch, _ = weights["patch_embed.proj.weight"].shape
        patches = round((weights["pos_embed"].shape[1] - 1) ** 0.5)
    except (KeyError, ValueError) as error:
        raise UserError(
            f"{model}: the weights are none of a vision transformer named as timm does ({error})"
        ) from error
    blocks = {found[1] for name in weights if (found := re.match(r"blocks\.(\d+)\.", name))}
    return {
        "embed_dim": width,
        "depth": len(blocks),
        "patch_size": patch,
        "img_size": patch * patches,
    }
