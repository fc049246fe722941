"""Scorers: one number for an image, or for an image and its prompt.

Text-image alignment (CLIPScore, Jina CLIP), human preference (PickScore, HPSv2.1, ImageReward) and
aesthetics (LAION), each as its reference computes it. One entry a kind, naming the module that
makes it; modules are imported when used.
"""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from synthgap.errors import UserError, suggest

if TYPE_CHECKING:  # the Snakefile asks for the modules of a kind
    import numpy as np
    from numpy.typing import NDArray

# A module has `make_scorer(spec, models, device)`.
_MODULES = {
    "clipscore": "synthgap.scorers.clip",
    "pickscore": "synthgap.scorers.clip",
    "hpsv2.1": "synthgap.scorers.hps",
    "imagereward": "synthgap.scorers.image_reward",
    "laion-aesthetic": "synthgap.scorers.aesthetic",
    "jina-clip": "synthgap.scorers.jina_clip",
}
_SETTINGS = {
    "clipscore": {"variant", "dtype"},
    "pickscore": {"dtype"},
    "hpsv2.1": {"architecture", "dtype"},
    "imagereward": {"dtype"},
    "laion-aesthetic": {"dtype"},
    "jina-clip": {"version", "dtype", "trust_remote_code"},
}
# Which models each needs, and which it may have; the first is the main one.
ROLES = {
    "clipscore": ("clip",),
    "pickscore": ("clip", "processor"),
    "hpsv2.1": ("weights",),
    "imagereward": ("weights", "tokenizer"),
    "laion-aesthetic": ("head", "clip"),
    "jina-clip": ("clip",),
}
_OPTIONAL = {"processor"}
# What a job's options have besides: where models are from, and how images are handed over.
_OF_JOBS = {"kind", "models", "batch_size"}

SCORER_KINDS = tuple(_MODULES)


class Scorer(Protocol):
    """What a stage needs of a scorer.

    Attributes:
        metric: its name with variant and model, such as `clipscore_hessel_vit_b32`.
        name: its plain name, such as `clipscore`.
        needs_prompt: whether prompts enter.
        identity: what the numbers depend on, as JSON: the weights' SHA-256, preprocessing, prefix,
            scale and number type.
        cut: prompts so far that were longer than the model reads, and lost their end.
    """

    metric: str
    name: str
    needs_prompt: bool
    identity: dict[str, Any]
    cut: int

    def score(
        self, images: "Sequence[NDArray[np.uint8]]", prompts: Sequence[str]
    ) -> "NDArray[np.float32]":
        """Return the scores, float32 (N,), of images, uint8 (H, W, 3), with their prompts.

        Images may differ in size. Up to rounding, a pair's score does not depend on the others.
        Where no prompt is needed, `prompts` are not looked at.

        Raises:
            UserError: another shape or type, an empty prompt, or not a prompt for each image.
        """


def modules_of(spec: Mapping[str, Any]) -> list[str]:
    """The dotted names of the modules that make a scorer. UserError on an unknown kind."""
    kind = spec.get("kind", "")
    if kind not in _MODULES:
        raise UserError(f"unknown scorer kind `{kind}`{suggest(str(kind), SCORER_KINDS)}")
    return [_MODULES[kind]]


def make_scorer(
    spec: Mapping[str, Any], *, models: Mapping[str, Path], device: str = "cpu"
) -> Scorer:
    """Return a scorer with its models loaded.

    The settings are `kind` and what it takes, here with their defaults:

        {"kind": "clipscore", "variant": "hessel"}  # or "torchmetrics"
        {"kind": "pickscore"}
        {"kind": "hpsv2.1", "architecture": "ViT-H-14"}
        {"kind": "imagereward"}
        {"kind": "laion-aesthetic"}
        {"kind": "jina-clip", "version": "v2", "trust_remote_code": false}

    and for each `dtype`, of the networks: "float32", "bfloat16" or "float16".

    Args:
        spec: such settings.
        models: folder or file by role, as `ROLES` lists them: `clip`, `processor` and `tokenizer`
            are folders as on the hub (`tokenizer` may be BERT's vocab.txt); `weights` and `head`
            are the published .pt or .pth files.
        device: torch's.

    Raises:
        UserError: an unknown kind, setting or role, a model that is missing, damaged or another
            one, or remote code that is not trusted.
    """
    [module] = modules_of(spec)
    kind = spec["kind"]
    for name in spec:
        if name not in _SETTINGS[kind] | _OF_JOBS:
            raise UserError(f"scorer {kind} has no `{name}`{suggest(name, _SETTINGS[kind])}")
    for role in models:
        if role not in ROLES[kind]:
            raise UserError(f"scorer {kind} has no model `{role}`{suggest(role, ROLES[kind])}")
    for role in ROLES[kind]:
        if role in models:
            if not Path(models[role]).exists():
                raise UserError(f"scorer {kind}: no such file or folder: {models[role]}")
        elif role not in _OPTIONAL:
            raise UserError(f"scorer {kind} needs the model `{role}`, a folder or file")
    made: Scorer = importlib.import_module(module).make_scorer(spec, models, device)
    return made
