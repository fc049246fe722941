"""Tiny, randomly initialised pipelines of every text-to-image family, made without a hub.

Each is built from the component classes of the family's own diffusers pipeline, with widths of
8 to 48, and saved as an ordinary pipeline folder of at most 2 MB. The images are noise, but a
different noise for each prompt and seed, and all code that runs is the family's own: tokenizer,
truncation, chat template, padding, guidance and scheduler.
"""

from pathlib import Path
from typing import Any

import torch

from tiny_pipelines.families import BUILDERS
from tiny_pipelines.parts import SIDE, strengthen

__all__ = ["ARGUMENTS", "PRESETS", "SIDE", "build"]

PRESETS = tuple(BUILDERS)

# Arguments for the tiny model on top of a preset's own. Binning would run at 1024 pixels, because
# the families know no smaller bin, and then shrink the image.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "sana": {"use_resolution_binning": False},
    # Cleaning needs Beautiful Soup; without it, each call warns and leaves the text as it is.
    "pixart": {"use_resolution_binning": False, "clean_caption": False},
}


def build(preset: str, folder: Path) -> Path:
    """Save a tiny pipeline of a preset's family in `folder`, the same bytes each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pipeline = BUILDERS[preset]()
    strengthen(getattr(pipeline, "transformer", None) or pipeline.unet, 2.0)
    pipeline.save_pretrained(folder)
    return folder
