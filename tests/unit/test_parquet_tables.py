"""Tables that are not what a command expects."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synthgap.data.captions import read_all
from synthgap.data.parquet_tables import count_rows, parsed, read_batches, read_table
from synthgap.data.shards import SHARD_SCHEMA, Manifest, read_rows
from synthgap.errors import UserError

SCHEMA = pa.schema([("key", pa.string()), ("class_index", pa.int32()), ("score", pa.float64())])
GOOD = pa.table({"key": ["a", "b"], "class_index": [0, 1], "score": [0.5, 1.0]})


def written(path: Path, table: pa.Table) -> Path:
    pq.write_table(table, path)
    return path


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (GOOD.drop(["key"]), "has no column `key`"),
        (GOOD.rename_columns(["key", "key", "score"]), "has 2 columns `key`"),
        (GOOD.set_column(1, "class_index", pa.array(["x", "y"])), "`class_index` is string, not"),
        (GOOD.set_column(1, "class_index", pa.array([0, None])), "missing in 1 rows"),
        (GOOD.set_column(1, "class_index", pa.array([0, 2**40])), "is damaged, or no table"),
        (pa.table({}), "has no column `key`"),
    ],
)
def test_another_table_is_refused_in_one_line(tmp_path: Path, table: pa.Table, said: str) -> None:
    path = written(tmp_path / "a.parquet", table)
    for read in (
        lambda: read_table(path, SCHEMA, "the test"),
        lambda: list(read_batches(path, SCHEMA, "the test", 10)),
    ):
        with pytest.raises(UserError, match=said) as caught:
            read()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1", b"key,score\n"])
def test_what_is_no_parquet_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "00000.parquet"
    path.write_bytes(content)
    for read in (
        lambda: read_table(path, SCHEMA, "the test"),
        lambda: count_rows(path, "the test"),
        lambda: list(read_all(path)),
        lambda: read_rows(path.with_suffix(".tar")),
        lambda: Manifest(path),
    ):
        with pytest.raises(UserError, match=r"00000\.parquet is damaged, or no table"):
            read()


def test_more_columns_in_another_order_are_read(tmp_path: Path) -> None:
    table = GOOD.append_column("more", pa.array([1, 2])).select(
        ["score", "more", "key", "class_index"]
    )
    narrow = table.set_column(0, "score", pa.array([0.5, 1.0], pa.float32()))
    read = read_table(written(tmp_path / "a.parquet", narrow), SCHEMA, "the test")
    assert read.column_names == SCHEMA.names
    assert read.schema.field("score").type == pa.float32()  # its digits stay
    assert read["class_index"].to_pylist() == [0, 1]


def test_images_beyond_the_end_of_their_tar_are_refused(tmp_path: Path) -> None:
    row = {"key": "a", "class_index": 0, "class_name": "x", "prompt": "", "seed": 0, "status": "ok",
           "sha256": "0", "offset": 0, "length": 2**60, "details": "{}"}  # fmt: skip
    tar = tmp_path / "00000.tar"
    tar.write_bytes(bytes(1024))
    schema = SHARD_SCHEMA.with_metadata({"tar_bytes": "1024"})
    written(tar.with_suffix(".parquet"), pa.Table.from_pylist([row], schema))
    with pytest.raises(UserError, match="beyond the end of its tar"):
        read_rows(tar)


def test_a_manifest_keeps_the_columns_that_it_has_besides(tmp_path: Path) -> None:
    row = {"key": "a", "class_index": 0, "class_name": "x", "prompt": "", "seed": 0, "status": "ok",
           "sha256": "0", "offset": 0, "length": 1, "details": "{}", "shard": "a.tar",
           "given_label": True, "source": "real", "source_label": 1}  # fmt: skip
    manifest = Manifest(written(tmp_path / "manifest.parquet", pa.Table.from_pylist([row])))
    assert manifest.table["source_label"].to_pylist() == [1]
    assert manifest.given_labels.tolist() == [True]


def test_details_that_are_no_json_are_refused() -> None:
    with pytest.raises(UserError, match="no JSON object"):
        parsed(Path("a.parquet"), "x")
