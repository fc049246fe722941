"""NaN, infinity and memory that runs out: each ends by a stated rule, and in no silent number."""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from campaign import injection, rows, study
from campaign.forked import LIGHT, run_command
from campaign.rows import Row

PART = "numerics"
MODULES = (*LIGHT, "torch", "scipy")


def prepare() -> None:
    """Make the study once without disturbance."""
    study.reference()


def trial(seed: int, number: int, folder: Path) -> Row:
    """Run one trial in an empty folder of its own; return its row. Of two, one is of a stage."""
    if number % 2:
        return injection.trial(seed, number, PART)
    rng = rows.chance(seed, PART, number)
    work = folder / "work"
    work.mkdir()
    fault = list(CASES)[number // 2 % len(CASES)]
    odd = rng.choice(["nan", "inf", "-inf"])
    ended = run_command(
        "campaign.numerics:inject",
        [fault, odd, rng.randrange(10**6)],
        work,
        modules=MODULES,
        megabytes=3000,
    )
    outcome = ended.outcome(ended.out.strip())
    return rows.row(
        PART, seed, number, fault="NaN or infinity", hit=f"{odd} as {fault}", outcome=outcome
    )


trials = rows.in_folder(trial)


def inject() -> None:
    """In a trial's process: do one thing with an odd number in it; print what is wrong after."""
    from synthgap.errors import UserError

    fault, odd, seed = sys.argv[1:]
    try:
        wrong = CASES[fault](float(odd), np.random.default_rng(int(seed)))
    except UserError as error:
        sys.exit(f"error: {error}")
    if wrong:
        print(wrong)


def _written_features(odd: float, rng: np.random.Generator) -> str:
    from synthgap.data.features import write_features

    values = rng.normal(size=(20, 4)).astype(np.float32)
    values[rng.integers(20), rng.integers(4)] = odd
    keys = [f"{i:03d}" for i in range(20)]
    write_features(Path("f.parquet"), keys, [(0, "a")] * 20, ["0"] * 20, values, {"family": "x"})
    return "written"


def _read_features(odd: float, rng: np.random.Generator) -> str:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from synthgap.data.features import Features

    values = rng.normal(size=(20, 4)).astype(np.float32)
    values[rng.integers(20), rng.integers(4)] = odd
    table = pa.table({"key": [f"{i}" for i in range(20)], "features": list(map(list, values))})
    pq.write_table(table, "f.parquet")
    Features([Path("f.parquet")])
    return "read"


def _too_large_features(odd: float, rng: np.random.Generator) -> str:
    from synthgap.data.features import stored

    stored(np.full((3, 4), 1e6, np.float32), "float16")
    return "stored as infinity"


def _measure(odd: float, rng: np.random.Generator) -> str:
    from synthgap.metrics.measures import Measure, write_measures

    write_measures(Path("m.json"), [Measure("density", odd, 10, 0.0, 1.0)])
    return "written"


def _row(odd: float, rng: np.random.Generator) -> str:
    from synthgap.metrics.table import Row, to_table

    to_table([Row("transfer", "accuracy", odd, 10)])
    return "taken"


def _settings(odd: float, rng: np.random.Generator) -> str:
    from synthgap.metrics.table import Row, to_table

    to_table([Row("transfer", "accuracy", 0.5, 10, settings={"a": odd})])
    return "taken"


def _limits(odd: float, rng: np.random.Generator) -> str:
    """A NaN limit is said to be none."""
    from synthgap.metrics.table import Row, to_table

    [record] = to_table([Row("transfer", "accuracy", 0.5, 10, ci_low=math.nan)]).to_pylist()
    return "" if record["ci_low"] is None else "a NaN limit stays"


def _images(odd: float, rng: np.random.Generator) -> str:
    """Of no image that a generator made, as NaN, may a black one be stored."""
    from synthgap.data.images import encode

    encode(np.full((4, 4, 3), odd, np.float32), "png")  # type: ignore[arg-type]
    return "encoded"


def _config(odd: float, rng: np.random.Generator) -> str:
    from synthgap.config import load

    Path("c.yaml").write_text(json.dumps({"checkpoint_seconds": odd}))
    load(Path("c.yaml"))
    return "taken"


CASES: dict[str, Callable[[float, np.random.Generator], str]] = {
    "features written": _written_features,
    "features read": _read_features,
    "features beyond float16": _too_large_features,
    "a measure": _measure,
    "a row of the metrics": _row,
    "a row's settings": _settings,
    "a row's limits": _limits,
    "an image of floats": _images,
    "a number of the config": _config,
}
