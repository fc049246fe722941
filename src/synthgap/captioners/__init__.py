"""Captioners: images to sentences, behind one interface.

A kind of captioner is a module with a function `load(spec) -> Captioner`, imported when used.
"""

import importlib
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from synthgap.errors import UserError, suggest

_MODULES = {
    "attributes": "synthgap.captioners.attributes",
}

CAPTIONER_KINDS = tuple(_MODULES)


class Captioner(Protocol):
    """What a stage needs of a captioner."""

    @property
    def name(self) -> str:
        """What tables call it: the kind, or the model's id."""

    def caption(self, images: npt.NDArray[np.uint8], class_names: list[str]) -> list[str]:
        """One sentence for each of the uint8 images (N, H, W, 3).

        class_names: N names, for captioners that tell their model what the image shows. Whether a
        prompt starts with the class name is decided where prompts are built, not here.
        """


def module_of(kind: str) -> str:
    """The dotted name of the module of a kind of captioner. UserError on an unknown kind."""
    if kind not in _MODULES:
        raise UserError(f"unknown captioner kind `{kind}`{suggest(str(kind), CAPTIONER_KINDS)}")
    return _MODULES[kind]


def load_captioner(spec: dict[str, Any]) -> Captioner:
    """Load the captioner that `spec` describes: `kind`, and the settings of that kind.

    Raises UserError on an unknown or missing kind, or settings that the kind does not have.
    """
    module = importlib.import_module(module_of(spec.get("kind", "")))
    captioner: Captioner = module.load(spec)
    return captioner
