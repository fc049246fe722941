"""A published network in a folder, as on the hub: config.json and model.safetensors."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthgap.errors import UserError

if TYPE_CHECKING:  # the config reads such folders too, and does without torch
    from torch import Tensor


def save_whole(folder: Path, save: Callable[[Path], object]) -> None:
    """Let `save` fill a folder beside, which gets its name when everything is in it."""
    unfinished = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    save(unfinished)
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)  # at once: what is removed file by file could be seen half gone
    unfinished.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def read_config(folder: Path) -> dict[str, Any]:
    """Return a folder's config.json. UserError where there is none."""
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} is no folder of a model: no config.json ({error})") from error
    return dict(config)


def read_weights(folder: Path) -> "dict[str, Tensor]":
    """Return the tensors of a folder's model.safetensors. UserError if it is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    path = folder / "model.safetensors"
    if not path.is_file():
        raise UserError(f"{folder}: it has no model.safetensors, and no other weights are loaded")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise UserError(f"{path} is damaged: {error}") from error


def require_architecture(folder: Path, name: str) -> None:
    """Check that a folder holds weights of timm's architecture `name`.

    Raises:
        UserError: it holds another's, or is none of timm's.
    """
    config = read_config(folder)
    if "architecture" not in config:
        raise UserError(f"{folder} is no model of timm: its config.json names no `architecture`")
    found = config["architecture"]
    if found != name.partition(".")[0]:  # what follows names the weights that timm would fetch
        raise UserError(
            f"{folder} holds weights of {found}, which do not fit the architecture {name}; give "
            f"others, or set the architecture's name to {found}"
        )
