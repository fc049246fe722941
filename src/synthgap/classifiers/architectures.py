"""Architectures by specification: any of timm's, and BagNet; with random weights.

A specification is what the config says, for example

    {"family": "timm", "name": "resnet50"}
    {"family": "timm", "name": "resnet18", "options": {"layers": [1, 1, 1, 1]}}
    {"family": "bagnet", "receptive_field": 9, "options": {"width": 16}}
"""

import difflib
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from synthgap.classifiers.bagnet import BagNet
from synthgap.errors import UserError
from synthgap.late_compiler import late_compiler
from synthgap.seeds import derive_seed

KEYS = {"timm": "name", "bagnet": "receptive_field"}
# These belong to the code: weights are random, and classes come from the data.
RESERVED_OPTIONS = frozenset(
    {"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "num_classes"}
)
# Channels at most that oneDNN puts together.
ONEDNN_BLOCK = 16
# What constructors raise on options they do not take.
REFUSALS = (TypeError, ValueError, AssertionError, KeyError, IndexError, RuntimeError)


def build(spec: Mapping[str, Any], num_classes: int) -> nn.Module:
    """Return the network that `spec` describes, with random weights and `num_classes` logits.

    It takes normalised images (N, 3, H, W). Both families have timm's `forward_features` and
    `forward_head(features, pre_logits)`.

    Raises:
        UserError: unknown family, key or timm name, or options that the constructor refuses.
    """
    family = spec.get("family")
    if family not in KEYS:
        raise UserError(f"architecture family {family!r} is unknown; choose from {', '.join(KEYS)}")
    needed = KEYS[family]
    if needed not in spec or not set(spec) <= {"family", needed, "options"}:
        raise UserError(
            f"architecture of family {family}: needs {needed}, may have options, and nothing "
            f"else; it has {', '.join(sorted(spec))}"
        )
    options = spec.get("options", {})
    if not isinstance(options, Mapping):
        raise UserError(f"architecture options must be a mapping, not {options!r}")
    if reserved := sorted(RESERVED_OPTIONS & set(options)):
        raise UserError(
            f"architecture options: {', '.join(reserved)} cannot be set; a classifier's "
            "`weights` says where published ones are, and its data how many classes it has"
        )
    what = f"{family} {spec[needed]}"
    try:
        if family == "bagnet":
            model: nn.Module = BagNet(spec["receptive_field"], num_classes, **options)
        else:
            model = _build_timm(spec["name"], num_classes, options)
    except REFUSALS as error:
        raise UserError(f"{what} cannot be built with options {dict(options)}: {error}") from error
    _thin_before_strides(model)
    return model


def _build_timm(name: str, num_classes: int, options: Mapping[str, Any]) -> nn.Module:
    with late_compiler():
        import timm

    if not timm.is_model(name):
        close = difflib.get_close_matches(str(name), timm.list_models(), n=4)
        hint = f"did you mean {', '.join(close)}?" if close else "see timm.list_models()"
        raise UserError(f"timm has no architecture {name!r}; {hint}")
    model: nn.Module = timm.create_model(name, pretrained=False, num_classes=num_classes, **options)
    return model


def _thin_before_strides(model: nn.Module) -> None:
    """Make narrow 1 x 1 convolutions with a stride skip pixels beforehand: the same product.

    On x86 CPUs oneDNN's gradient of their weights is wrong and writes where it must not (a crash
    sooner or later) where an image has fewer channels than a block, 8 or 16, and they are last in
    memory: https://github.com/uxlfoundation/oneDNN/issues/6035
    """
    for module in model.modules():
        if not isinstance(module, nn.Conv2d) or module.in_channels >= ONEDNN_BLOCK:
            continue
        if module.kernel_size == (1, 1) and module.padding == (0, 0) and max(module.stride) > 1:
            down, across = module.stride
            module.stride = (1, 1)
            module.register_forward_pre_hook(partial(_every, down, across))


def _every(down: int, across: int, module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    return (inputs[0][..., ::down, ::across],)


def build_seeded(spec: Mapping[str, Any], num_classes: int, seed: int) -> nn.Module:
    """`build` with initial weights that depend on `seed` alone; global random state is kept."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "init"))
        return build(spec, num_classes)


def require_size(model: nn.Module, spec: Mapping[str, Any], height: int, width: int) -> None:
    """Check that a network takes images of a size, by one forward pass on the CPU.

    Raises:
        UserError: it does not: vision transformers have one size, deep networks a least one.
    """
    model.eval()
    try:
        with torch.inference_mode():
            model(torch.zeros(1, 3, height, width))
    except REFUSALS as error:
        name = f"{spec['family']} {spec[KEYS[spec['family']]]}"
        reason = " ".join(str(error).split())
        raise UserError(
            f"{name} cannot see images of {width} x {height} pixels ({reason}); set the recipe's "
            "input_size, or the architecture's options"
        ) from error


def features(model: nn.Module, images: Tensor) -> Tensor:
    """Return the features (N, d) that enter the last linear layer; images as for `build`."""
    backbone: Any = model  # nn.Module does not declare the two methods
    vectors: Tensor = backbone.forward_head(backbone.forward_features(images), pre_logits=True)
    return vectors
