"""Rubbish as input: configs, image files, tars, tables and names.

A trial's choices come from the seed, the part and its number. Of ten trials five are configs, two
images, one each tars, tables and names; one config in fifty goes through the real Snakefile.
"""

import argparse
import collections
import importlib
import json
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PART = "inputs"
LEAST = 1100
CYCLE = ("config", "image", "config", "tar", "config", "image", "config", "table", "config", "name")

TRIALS = {
    "config": ("input_configs", "trial"),
    "image": ("input_files", "image_trial"),
    "tar": ("input_files", "tar_trial"),
    "name": ("input_files", "name_trial"),
    "table": ("input_tables", "trial"),
}


def trial(seed: int, number: int, folder: Path) -> dict[str, Any]:
    """Run one trial in an empty folder of its own; return its row."""
    kind = CYCLE[number % len(CYCLE)]
    rng = random.Random(f"{seed}/{PART}/{number}")
    module, function = TRIALS[kind]
    run = getattr(importlib.import_module(f"campaign.{module}"), function)
    started = time.monotonic()
    fault, given, outcome = run(rng, number, folder)
    return {
        "part": PART,
        "fault": f"{kind}: {fault}",
        "given": given,
        "outcome": outcome,
        "seconds": round(time.monotonic() - started, 3),
    }


def main(run: Callable[[int, int, Path], dict[str, Any]], least: int) -> None:
    """Run some trials of one part by itself and print their rows that are defects, and counts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=least)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="kind of fault")
    args = parser.parse_args()
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    for number in range(args.first, args.first + args.trials):
        if args.only and CYCLE[number % len(CYCLE)] != args.only:
            continue
        with tempfile.TemporaryDirectory(prefix="trial-") as folder:
            row = run(args.seed, number, Path(folder))
        counts[row["fault"].partition(":")[0], row["outcome"].partition(" ")[0]] += 1
        if row["outcome"].startswith("DEFECT"):
            print(number, json.dumps(row), flush=True)
    for (kind, outcome), times in sorted(counts.items()):
        print(f"{kind:12} {outcome:10} {times}")


if __name__ == "__main__":
    from campaign.inputs import trial as own

    main(own, LEAST)
