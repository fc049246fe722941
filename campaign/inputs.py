"""Rubbish as input: configs, image files, tars, tables and names.

A trial's choices come from the seed, the part and its number. Of ten trials five are configs, two
images, one each tars, tables and names; one config in fifty goes through the real Snakefile.
"""

import importlib
from pathlib import Path

from campaign import rows
from campaign.rows import Row

PART = "inputs"
CYCLE = ("config", "image", "config", "tar", "config", "image", "config", "table", "config", "name")

TRIALS = {
    "config": ("input_configs", "trial"),
    "image": ("input_files", "image_trial"),
    "tar": ("input_files", "tar_trial"),
    "name": ("input_files", "name_trial"),
    "table": ("input_tables", "trial"),
}


def trial(seed: int, number: int, folder: Path) -> Row:
    """Run one trial in an empty folder of its own; return its row."""
    kind = CYCLE[number % len(CYCLE)]
    rng = rows.chance(seed, PART, number)
    module, function = TRIALS[kind]
    run = getattr(importlib.import_module(f"campaign.{module}"), function)
    fault, given, outcome = run(rng, number, folder)
    return rows.row(PART, seed, number, fault=kind, hit=f"{fault}: {given}"[:300], outcome=outcome)


trials = rows.in_folder(trial)
