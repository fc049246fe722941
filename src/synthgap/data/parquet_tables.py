"""Tables that one command writes for others: read so that another file is refused in one line."""

import json
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from synthgap.errors import UserError

# What pyarrow raises of files that are damaged or none.
REFUSALS = (pa.ArrowException, OSError, ValueError, TypeError, KeyError, IndexError)


def read_table(
    path: Path,
    schema: pa.Schema,
    made_by: str,
    nullable: Collection[str] = (),
    where: object = None,
) -> pa.Table:
    """Return the columns of `schema` of a parquet file, its metadata kept.

    Args:
        made_by: command that writes such files, for messages.
        nullable: columns in which a row may have nothing.

    Raises:
        UserError: the file is damaged, lacks a column, or one has values of another type or none.
    """
    _require_columns(path, schema, made_by)
    try:
        table = pq.read_table(path, columns=schema.names)
        cast = _cast(table, schema)
    except REFUSALS as error:
        raise UserError(_refused(path, made_by, error)) from error
    _require_values(path, cast, made_by, nullable)
    return cast


def read_batches(
    path: Path, schema: pa.Schema, made_by: str, rows: int, nullable: Collection[str] = ()
) -> Iterator[pa.Table]:
    """Yield the columns of `schema` of a parquet file, some rows at a time; see `read_table`."""
    _require_columns(path, schema, made_by)
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(rows, columns=schema.names):
                cast = _cast(pa.Table.from_batches([batch]), schema)
                _require_values(path, cast, made_by, nullable)
                yield cast
    except REFUSALS as error:
        raise UserError(_refused(path, made_by, error)) from error


def count_rows(path: Path, made_by: str) -> int:
    """Return the number of rows of a parquet file. UserError where it is damaged or none."""
    try:
        return int(pq.read_metadata(path).num_rows)
    except REFUSALS as error:
        raise UserError(_refused(path, made_by, error)) from error


def parsed(path: Path, text: str) -> dict[str, Any]:
    """Return what a cell of `details` tells, which is a JSON object. UserError if it is none."""
    try:
        return dict(json.loads(text))
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{path} is damaged: `details` has {text[:40]!r}, no JSON object"
        ) from error


def part_of(schema: pa.Schema, names: Sequence[str]) -> pa.Schema:
    """Return some columns of a schema, in their order."""
    return pa.schema([schema.field(name) for name in names])


def _cast(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table in the types of a schema; floats keep their width, and so their digits."""
    for field in schema:
        found = table.schema.field(field.name).type
        if pa.types.is_floating(field.type) and pa.types.is_floating(found):
            schema = schema.set(schema.get_field_index(field.name), field.with_type(found))
    return table.select(schema.names).cast(schema.with_metadata(table.schema.metadata))


def _require_columns(path: Path, schema: pa.Schema, made_by: str) -> None:
    try:
        found = pq.read_schema(path)
    except REFUSALS as error:
        raise UserError(_refused(path, made_by, error)) from error
    for field in schema:
        if (times := found.names.count(field.name)) != 1:
            has = f"has {times} columns" if times else "has no column"
            raise UserError(f"{path} {has} `{field.name}`; {made_by} makes such a file")
        kind = found.field(field.name).type
        if _plain(kind) != _plain(field.type) and not pa.types.is_null(kind):
            raise UserError(
                f"{path}: `{field.name}` is {_short(kind)}, not {field.type}; {made_by} makes such "
                "a file"
            )


def _require_values(path: Path, table: pa.Table, made_by: str, nullable: Collection[str]) -> None:
    for name in table.column_names:
        if name not in nullable and (missing := table[name].null_count):
            raise UserError(
                f"{path}: `{name}` is missing in {missing} rows; {made_by} makes such a file"
            )


def _plain(kind: pa.DataType) -> str:
    """Return what a type is of, whatever its width."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_integer(kind):
        return "integer"
    if pa.types.is_floating(kind):
        return "float"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "string"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return f"list of {_plain(kind.value_type)}"
    return str(kind)


def _short(kind: pa.DataType) -> str:
    text = str(kind)
    return text if len(text) < 60 else f"{text[:60]}..."


def _refused(path: Path, made_by: str, error: BaseException) -> str:
    if isinstance(error, FileNotFoundError):
        return f"no such file: {path}; {made_by} makes it"
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    return f"{path} is damaged, or no table of {made_by}: {reason}"
