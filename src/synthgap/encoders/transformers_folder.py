"""Loading a vision model of transformers from a folder: all of its weights, and no code."""

from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError

from synthgap.encoders.network import missing_weights
from synthgap.errors import UserError


def load(kinds: dict[str, str], folder: Path, dtype: torch.dtype, device: str) -> Any:
    """Return the model of a folder in evaluation mode.

    Args:
        kinds: class of transformers by the `model_type` that config.json may have.
        folder: config.json and safetensors, as on the hub.

    Raises:
        UserError: the folder holds no such model, or not all of it.
    """
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        config, _ = transformers.PreTrainedConfig.get_config_dict(folder, **local)
        kind = config.get("model_type")
        if kind not in kinds:
            raise UserError(f"{folder} holds a model `{kind}`, not {' or '.join(kinds)}")
        given = {"config": _image_tower(config)} if kind == "clip" else {}
        model, report = getattr(transformers, kinds[kind]).from_pretrained(
            folder, **given, dtype=dtype, use_safetensors=True, output_loading_info=True, **local
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(f"{folder}: cannot be loaded as {' or '.join(kinds)}: {error}") from error
    missing_weights(folder, list(report["missing_keys"]))
    return model.to(device).eval()


def _image_tower(config: dict[str, Any]) -> Any:
    """Return the configuration of a whole CLIP's image tower.

    The embedding's width is told of the whole; the tower's own entry for it may have been left out
    or be the default.
    """
    whole = transformers.CLIPConfig.from_dict(config)
    tower = whole.vision_config
    tower.projection_dim = whole.projection_dim
    return tower
