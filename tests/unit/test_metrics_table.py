import dataclasses
import math
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_up_metrics import made_up_rows

from synthgap.errors import UserError
from synthgap.metrics.table import SCHEMA, Row, read, rows, to_table


def test_any_order_gives_the_same_table():
    given = made_up_rows()
    shuffled = random.Random(0).sample(given, len(given))
    assert to_table(shuffled).equals(to_table(given))
    assert to_table(given).schema == SCHEMA


def test_rows_come_back(tmp_path):
    given = made_up_rows()
    pq.write_table(to_table(given), tmp_path / "metrics.parquet")
    table = read(tmp_path / "metrics.parquet")
    assert table.equals(to_table(given))
    assert sorted(rows(table), key=repr) == sorted(given, key=lambda row: repr(normal(row)))


def normal(row):
    return dataclasses.replace(row, settings=dict(sorted(row.settings.items())))


def test_settings_are_json_with_sorted_keys():
    table = to_table([Row("s", "m", 0.5, 10, settings={"b": 1, "a": [1, "ü"]})])
    assert table["settings"].to_pylist() == ['{"a": [1, "ü"], "b": 1}']


def test_an_unknown_limit_is_null():
    table = to_table([Row("s", "m", 0.5, 10, ci_low=math.nan, ci_high=math.nan)])
    assert table["ci_low"].to_pylist() == [None]


def test_summaries_come_after_their_seeds():
    given = [Row("s", "m", 0.5, 10), Row("s", "m", 0.4, 10, seed=1), Row("s", "m", 0.6, 10, seed=0)]
    assert to_table(given)["seed"].to_pylist() == [0, 1, None]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([Row("s", "m", 0.5, 10), Row("s", "m", 0.6, 10)], "two rows for the same number"),
        ([Row("s", "m", math.nan, 10)], "is nan"),
        ([Row("s", "m", 0.5, 10, settings={"x": object()})], "settings"),
        ([Row("s", "m", 0.5, 10, settings={"x": math.nan})], "settings"),
    ],
)
def test_contradictions_are_refused(given, message):
    with pytest.raises(UserError, match=message):
        to_table(given)


@pytest.mark.parametrize("settings", ["{", "", "[]", "[" * 5000])
def test_settings_that_are_no_json_are_refused(tmp_path, settings):
    path = tmp_path / "metrics.parquet"
    record = dict.fromkeys(SCHEMA.names) | {"study": "a", "metric": "b"}
    record |= {"value": 1.0, "ci_level": 0.95, "n": 1, "settings": settings}
    pq.write_table(pa.Table.from_pylist([record], SCHEMA), path)
    with pytest.raises(UserError, match=r"metrics.parquet: the settings of row 0 are no JSON obj"):
        read(path)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="not a readable parquet"):
        read(tmp_path / "missing.parquet")
    (tmp_path / "text.parquet").write_text("no")
    with pytest.raises(UserError, match="not a readable parquet"):
        read(tmp_path / "text.parquet")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(UserError, match="not a metrics table"):
        read(tmp_path / "other.parquet")
