"""Numbers on their way from a command to the metrics table: one JSON file a command's run.

At its top stand the plain names (`density`, `coverage`...) with their values, for those who run a
command by hand; `measures` lists the same numbers under the names that tell their variant, with
interval, number of items and settings; `about` is what the caller wants said of all of them.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from synthgap.atomic import write_text
from synthgap.errors import UserError


@dataclass(frozen=True)
class Measure:
    """One number; NaN limits where the data give no interval."""

    metric: str
    """with its variant: `density_k5_euclidean`"""
    value: float
    n: int
    """items that it is of"""
    low: float = math.nan
    high: float = math.nan
    settings: Mapping[str, Any] = field(default_factory=dict)
    """what else shaped it; JSON values only"""
    name: str = ""
    """its plain name, such as `density`, where it has one; once a file"""


def write_measures(
    path: Path,
    measures: Iterable[Measure],
    about: Mapping[str, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Write numbers atomically.

    Args:
        about: fields of the metrics table (`synthgap.metrics.table.Row`) that all of them have.
        facts: of the run, such as versions and seconds; the metrics table does not hold them.

    Raises:
        UserError: a value is not finite, or two have the same plain name.
    """
    measures = list(measures)
    for measure in measures:
        if not math.isfinite(measure.value):
            raise UserError(f"{path}: {measure.metric} is {measure.value}")
    named = [measure.name for measure in measures if measure.name]
    if len(set(named)) < len(named):
        raise UserError(f"{path}: two numbers of one name among {', '.join(named)}")
    content: dict[str, Any] = {m.name: m.value for m in measures if m.name}
    content |= {
        "measures": [_plain(measure) for measure in measures],
        "about": dict(about or {}),
        "facts": dict(facts or {}),
    }
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_measures(path: Path) -> tuple[list[Measure], dict[str, Any]]:
    """Return the numbers in a file, and what is said of all of them.

    Raises:
        UserError: the file holds something else.
    """
    try:
        content = json.loads(Path(path).read_text())
        measures = [
            Measure(**entry | {side: _nan(entry[side]) for side in ("low", "high")})
            for entry in content["measures"]
        ]
        about = content["about"]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not a file of measured numbers ({error!r})") from error
    return measures, about


def _plain(measure: Measure) -> dict[str, Any]:
    limits = {side: getattr(measure, side) for side in ("low", "high")}
    finite = {side: value if math.isfinite(value) else None for side, value in limits.items()}
    return asdict(measure) | {"settings": dict(measure.settings)} | finite


def _nan(value: float | None) -> float:
    return math.nan if value is None else value
