"""The rows of the campaign's result file: JSON lines, one a trial, appended as they come."""

import fcntl
import hashlib
import json
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

RECOVERED = "recovered identical"
RIGHT = "right result"
REFUSED = "refused with one line"
DEFECT = "DEFECT"
OPEN = "open"  # a defect that docs/reliability.md names

Row = dict[str, Any]


def chance(seed: int, part: str, number: int) -> random.Random:
    """Return the source of all random choices of one trial."""
    digest = hashlib.sha256(f"{seed} {part} {number}".encode()).digest()
    return random.Random(int.from_bytes(digest[:8], "big"))


def row(
    part: str,
    seed: int,
    number: int,
    *,
    fault: str,
    hit: str,
    outcome: str,
    moment: str = "",
    times: int = 1,
    losses: int = 0,
    **more: Any,
) -> Row:
    """Return the row of a trial.

    Args:
        fault: what was done, as the table of `docs/reliability.md` groups it.
        hit: the stage, process or file that it was done to.
        outcome: RECOVERED, RIGHT, REFUSED, or DEFECT and what is wrong.
        moment: when.
        times: how often the fault was made in this trial; 0 where it came too late.
        losses: finished files that were lost or changed.
    """
    told = {"part": part, "number": number, "seed": seed, "fault": fault, "hit": hit}
    return {**told, "moment": moment, "outcome": outcome, "times": times, "losses": losses, **more}


def in_folder(trial: Callable[[int, int, Path], Row]) -> Callable[[int, int], Row]:
    """Return a part's trials from what makes one in an empty folder, which is removed after it."""

    def trials(seed: int, number: int) -> Row:
        with tempfile.TemporaryDirectory(prefix="trial-") as folder:
            return trial(seed, number, Path(folder))

    return trials


def append(path: Path, found: Row) -> None:
    """Add a row to the file; several runners may share it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps(found, ensure_ascii=False) + "\n")


def read(path: Path) -> list[Row]:
    """Return all rows; a line that a kill cut short is left out."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found
