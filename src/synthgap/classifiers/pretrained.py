"""Published weights as the start of a training: those of timm, from a folder as on the hub."""

import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from synthgap.classifiers.architectures import REFUSALS
from synthgap.classifiers.evaluation import DEVIATION, MEAN
from synthgap.errors import UserError
from synthgap.late_compiler import late_compiler
from synthgap.model_folder import read_config, read_weights, require_architecture

log = logging.getLogger("synthgap")

Tensors = Mapping[str, Tensor]
# Arguments of constructors that the data decide, or that would show in the tensors' shapes.
SHOWN = {"num_classes", "in_chans", "img_size", "global_pool"}


def start_from(folder: Path, network: nn.Module, architecture: Mapping[str, Any]) -> None:
    """Put published weights into a network of timm.

    A last layer for another number of classes stays as it is. Where the network sees another size
    than the published one, timm interpolates what depends on the size, such as the position
    embeddings of vision transformers.

    Args:
        folder: config.json and model.safetensors.
        network: as `build_seeded` returns it; changed in place.
        architecture: the specification that it was built by.

    Raises:
        UserError: weights of another architecture, or that lack a tensor, have one too many or
            one of another shape.
    """
    if architecture["family"] != "timm":
        raise UserError(f"only networks of timm start from weights, not {architecture['family']}")
    name, config = architecture["name"], read_config(folder)
    require_architecture(folder, name)
    published = read_weights(folder)
    weights, misfits = _fitting(network, published)
    if misfits:
        weights, misfits = _fitting(network, _converted(folder, name, network, published))
    if misfits:
        more = f" (and {len(misfits) - 1} more tensors)" if len(misfits) > 1 else ""
        made = config.get("model_args") or "no options"
        raise UserError(
            f"{folder}: the weights do not fit {name} with options "
            f"{dict(architecture.get('options', {}))}: {misfits[0]}{more}; it was made with {made}"
        )
    network.load_state_dict(weights, strict=False)
    drawn = sorted({key.rpartition(".")[0] for key in _heads(network) if key not in weights})
    log.info("weights of %s%s", folder, f"; at random: {', '.join(drawn)}" if drawn else "")
    _compare(folder, config, architecture)


def _fitting(network: nn.Module, weights: Tensors) -> tuple[dict[str, Tensor], list[str]]:
    """Return the weights without last layers of other shapes, and what else does not fit."""
    wanted = {key: value.shape for key, value in network.state_dict().items()}
    heads = _heads(network)
    kept = {k: v for k, v in weights.items() if k not in heads or v.shape == wanted.get(k)}
    lacking = [
        f"{key} is missing"
        for key in wanted
        # Weights older than torch 0.4.1 have no counters, and training makes no use of them.
        if key not in kept and key not in heads and not key.endswith("num_batches_tracked")
    ]
    foreign = [f"{key} is too many" for key in kept if key not in wanted]
    shapes = [
        f"{key} is {tuple(kept[key].shape)} and not {tuple(shape)}"
        for key, shape in wanted.items()
        if key in kept and kept[key].shape != shape
    ]
    return kept, [*shapes, *lacking, *foreign]


def _heads(network: nn.Module) -> set[str]:
    """Return the names of the last layers' tensors: two layers in a distilled network."""
    described: Any = network  # nn.Module does not declare what timm adds
    names = described.pretrained_cfg.get("classifier") or ()
    layers = (names,) if isinstance(names, str) else names
    return {f"{layer}.{part}" for layer in layers for part in ("weight", "bias")}


def _converted(folder: Path, name: str, network: nn.Module, weights: Tensors) -> Tensors:
    """Return the weights as timm brings those of other sizes and older names to a network."""
    with late_compiler():
        import timm

    module = sys.modules[timm.models.model_entrypoint(name).__module__]
    convert = getattr(module, "checkpoint_filter_fn", None)
    if convert is None:
        return weights
    try:
        converted: Tensors = convert(dict(weights), network)
    except REFUSALS as error:
        raise UserError(f"{folder}: the weights do not fit {name}: {error}") from error
    return converted


def _compare(folder: Path, config: Mapping[str, Any], architecture: Mapping[str, Any]) -> None:
    """Warn of what weights do not show, and may have been made with otherwise."""
    options = architecture.get("options", {})
    made = config.get("model_args") or {}
    others = {k: v for k, v in made.items() if k not in SHOWN and options.get(k) != v}
    if others:
        log.warning("%s was made with %s; the architecture's options differ", folder, others)
    told = config.get("pretrained_cfg", config)
    for what, ours in (("mean", MEAN), ("std", DEVIATION)):
        theirs = told.get(what)
        if theirs and list(theirs) != list(ours):
            log.warning(
                "%s was trained on images of %s %s; here it is ImageNet's", folder, what, theirs
            )
