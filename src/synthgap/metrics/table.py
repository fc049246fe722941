"""The one long table of results, `metrics.parquet`: a row a number, with all that it depends on.

Figures and report read nothing else. Conventions, with S the name of a synthetic source:

| study | metric | train_source | test_source | what it is |
| --- | --- | --- | --- | --- |
| transfer | top1_accuracy | real | real | Real->Real, the reference |
| transfer | top1_accuracy | S | real | Synth->Real |
| transfer | top1_accuracy | real | S | Real->Synth |
| transfer | top5_accuracy | | | the same three, where there are more than five classes |
| transfer | gap_to_real | S | real | Real->Real minus Synth->Real |
| transfer | accuracy_relative_to_real | S | real | Synth->Real over Real->Real |
| alignment | class_probability | real | S | mean probability of the class asked for |
| scaling | top1_accuracy | S or real | real | trained on settings.fraction of each class |
| mixing | top1_accuracy | S | real | trained on real images and S, see below |
| semi_supervised | top1_accuracy | S | real | the same with few labels |
| transfer | density_k5_euclidean, ... | real | S or real | S, or the test split, against real |
| transfer | radial_power_db, radial_power_db_sd | | S or real | at settings.frequency, in dB |
| distinguish | top1_accuracy | first | others | telling sources apart; the same: control |
| distinguish | jensen_shannon_lower_bound_bits | first | others | see `metrics.distinguish` |
| distinguish | human_accuracy, ... | first | others | of people, see `metrics.human` |
| leaks | file_mismatch, file_bytes, ... | first | others | see `metrics.leaks` |
| realism | share_called_fake | real | S | share of S that classifiers take for generated |
| casd | density_k5_euclidean, fid, ... | real | S | S, a model of study D, against real |
| casd | memorised_share_ssim, ..._lpips | | S or real | share of copies, by settings.threshold |
| casd | class_share, other_classes_share | | S or real | what a classifier takes S for |
| captions | words_mean, share_refused, ... | | real | see `synthgap.metrics.captions` |
| captions | share_prompts_cut, tokens_cut_mean | | S | by settings.text_encoder |

A row with a null `seed` is the summary over all seeds. In the studies `transfer` and `distinguish`
the settings of every row with a synthetic source hold `generator`, `prompts`, `x` (a number) and
`x_name` (what that number is); those of an accuracy hold `probe`, what the classifier could see
(`rgb`, `structure`...). Those of the study `scaling` hold `fraction` (0..1] and `train_images`; of
`mixing` `train_images`, `synthetic_ratio` (images of S for each real one that there is) and
`mixing`: "replace", where they take the place of as many real ones, or "augment", where they are
added to all real ones; of `semi_supervised` these, `labels_per_class` and `method`. Those of
`casd` hold `casd`: arm, images, sources, classes and designs of the model. Those of
`distinguish` hold `comparison`, `distributions`, `chance`,
`control`, `axis` ("main", or what is varied: "views", "samples") and `order`, the classifier's
place in the study.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from synthgap.errors import UserError

SCHEMA = pa.schema(
    [
        pa.field("study", pa.string(), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
        pa.field("ci_low", pa.float64()),
        pa.field("ci_high", pa.float64()),
        pa.field("ci_level", pa.float64(), nullable=False),
        pa.field("n", pa.int64(), nullable=False),
        pa.field("train_source", pa.string()),
        pa.field("test_source", pa.string()),
        pa.field("view", pa.string()),
        pa.field("architecture", pa.string()),
        pa.field("encoder", pa.string()),
        pa.field("seed", pa.int64()),
        pa.field("settings", pa.string(), nullable=False),
    ]
)

# What names a number; two rows that agree in all of these would contradict each other.
_KEY = (
    "study",
    "metric",
    "train_source",
    "test_source",
    "view",
    "architecture",
    "encoder",
    "seed",
    "settings",
)


@dataclass(frozen=True)
class Row:
    """One number. Shares and accuracies are fractions in 0..1, not percent."""

    study: str
    metric: str
    value: float
    n: int
    """items averaged over: test images, real rows, generated rows, captions or prompts"""
    ci_low: float | None = None
    ci_high: float | None = None
    ci_level: float = 0.95
    train_source: str | None = None
    test_source: str | None = None
    view: str | None = None
    architecture: str | None = None
    encoder: str | None = None
    seed: int | None = None
    """training seed; None: over all seeds"""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """whatever else shaped the number; JSON values only"""


def to_table(rows: Iterable[Row]) -> pa.Table:
    """Rows as a table of `SCHEMA`, sorted by what names them: any order in, the same table out.

    NaN limits (no interval could be had) become nulls.

    Raises:
        UserError: a value is not finite, settings are not JSON, or two rows name the same number.

    Examples:
        >>> rows = [Row("transfer", "top1_accuracy", 0.9, n=500, train_source="sd15-classname",
        ...             test_source="real", settings={"x": 2022})]
        >>> table = to_table(rows)
        >>> table.num_rows, table["value"].to_pylist()
        (1, [0.9])
    """
    records = sorted((_record(row) for row in rows), key=_sort_key)
    for before, after in pairwise(records):
        if _sort_key(before) == _sort_key(after):
            raise UserError(f"metrics: two rows for the same number: {_describe(after)}")
    return pa.Table.from_pylist(records, schema=SCHEMA)


def read(path: Path) -> pa.Table:
    """The table in a parquet file.

    Raises:
        UserError: the file is missing, is not parquet or has other columns, or settings that are
            no JSON object.
    """
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"{path}: not a readable parquet file ({error})") from error
    if not table.schema.equals(SCHEMA, check_metadata=False):
        raise UserError(f"{path}: not a metrics table; expected the columns {SCHEMA.names}")
    for number, settings in enumerate(table["settings"].to_pylist()):
        if not _is_json_object(settings):
            raise UserError(
                f"{path}: the settings of row {number} are no JSON object: {str(settings)[:60]!r}"
            )
    return table


def rows(table: pa.Table) -> list[Row]:
    """The table's rows, in its order, settings parsed."""
    return [
        Row(**{**record, "settings": json.loads(record["settings"])})
        for record in table.to_pylist()
    ]


def _is_json_object(text: str | None) -> bool:
    try:
        return isinstance(json.loads(text or ""), dict)
    except (ValueError, RecursionError):
        return False


def _record(row: Row) -> dict[str, Any]:
    record = {f.name: getattr(row, f.name) for f in fields(row)}
    if not math.isfinite(row.value):
        raise UserError(f"metrics: the value of {_describe(record)} is {row.value}")
    for limit in ("ci_low", "ci_high"):
        if record[limit] is not None and math.isnan(record[limit]):
            record[limit] = None
    try:
        record["settings"] = json.dumps(
            dict(row.settings), sort_keys=True, ensure_ascii=False, allow_nan=False
        )
    except (TypeError, ValueError) as error:
        raise UserError(f"metrics: settings of {_describe(record)}: {error}") from error
    return record


def _sort_key(record: dict[str, Any]) -> list[tuple[bool, Any]]:
    """Nulls last in each column."""
    return [(record[name] is None, record[name]) for name in _KEY]


def _describe(record: dict[str, Any]) -> str:
    return ", ".join(f"{name}={record[name]}" for name in _KEY if record[name] is not None)
