"""Run parts of the campaign for some time, one trial of each in turn, and append what they find.

python -m campaign --parts kills disk --seconds 180 --seed 0 --results campaign/results.jsonl
python -m campaign --only kills:17

Exits with status 1 where a trial found a defect. It goes on after the last number in the file.
"""

import argparse
import importlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from campaign import PARTS, rows
from campaign.rows import Row

HERE = Path(__file__).parent


def main() -> None:
    """Parse the options and make trials until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--trials", type=int, help="end after so many, even before the time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="one trial again, as PART:NUMBER; nothing is recorded")
    parser.add_argument("--results", type=Path, default=HERE / "results.jsonl")
    parser.add_argument("--pause-while", type=Path, help="make no trial while this file exists")
    args = parser.parse_args()
    # A shell that starts it in the background has it, and so all that it starts, ignore this.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if args.only:
        part, _, number = args.only.partition(":")
        sys.exit(tell(trial_of(part), part, args.seed, int(number))["outcome"].startswith("DEFECT"))
    sys.exit(run(args))


def run(args: argparse.Namespace) -> bool:
    """Make trials; say whether one found a defect."""
    for part in args.parts:
        # What takes long and is no trial, such as making the study once without disturbance.
        getattr(importlib.import_module(PARTS[part]), "prepare", lambda: None)()
    end = time.monotonic() + args.seconds
    found = rows.read(args.results)
    last = dict.fromkeys(args.parts, 0)
    for row in found:
        if row["part"] in last and row["seed"] == args.seed:
            last[row["part"]] = max(last[row["part"]], row["number"])
    made, defect = 0, False
    while time.monotonic() < end:
        for part in args.parts:
            while args.pause_while and args.pause_while.exists():
                time.sleep(1)
            if time.monotonic() >= end or made == args.trials:
                return defect
            last[part] += 1
            row = tell(trial_of(part), part, args.seed, last[part])
            rows.append(args.results, row)
            made += 1
            defect |= row["outcome"].startswith(rows.DEFECT)
    return defect


def trial_of(part: str) -> Callable[[int, int], Row]:
    """Return a part's function of (seed, number)."""
    trials: Callable[[int, int], Row] = importlib.import_module(PARTS[part]).trials
    return trials


def tell(trials: Callable[[int, int], Row], part: str, seed: int, number: int) -> Row:
    """Make one trial and print what it found."""
    started = time.monotonic()
    try:
        row = trials(seed, number)
    except Exception as error:  # the campaign's own mistake is none of the project
        traceback.print_exc()
        outcome = f"{rows.DEFECT} of the campaign itself: {type(error).__name__}: {error}"
        row = rows.row(part, seed, number, fault="", hit="", outcome=outcome, times=0)
    row["seconds"] = round(time.monotonic() - started, 1)
    line = f"{part}:{number} {row['fault']} · {row['hit']} · {row['moment']} · {row['outcome']}"
    print(f"{line} · {row['seconds']} s", flush=True)
    return row


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    main()
