"""An untrained EDM model, as a config describes it."""

from collections.abc import Mapping
from typing import Any

import torch

from synthgap.diffusion.edm.augmentation import LABELS
from synthgap.diffusion.edm.network import EDMUNet
from synthgap.errors import UserError
from synthgap.seeds import derive_seed


def build(
    settings: Mapping[str, Any],
    *,
    side: int,
    sources: int,
    classes: int,
    augmented: bool,
    seed: int,
) -> EDMUNet:
    """Return an untrained network, the same for the same arguments.

    What it is not told has no weights, and all others begin alike: so arms of a study differ in
    nothing but what they are told.

    Args:
        settings: options of `EDMUNet`.
        side: of the images, in pixels.
        sources, classes: how many labels it is told of, 0 for none.
        augmented: whether it is told how images were augmented.

    Raises:
        UserError: levels that do not fit the side.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "initial weights"))
        try:
            model: EDMUNet = EDMUNet(
                sample_size=side,
                sources=sources,
                classes=classes,
                augmentation=LABELS if augmented else 0,
                **settings,
            )
        except ValueError as error:
            raise UserError(f"network.{error}") from error
    return model
