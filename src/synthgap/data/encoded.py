"""Encoded images from wherever they lie: shards of this workflow, other tars, folders."""

import tarfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from synthgap.data.real import IMAGE_SUFFIXES
from synthgap.data.shards import SHARD_SCHEMA, read_shard
from synthgap.errors import UserError
from synthgap.listing import files_below


def is_shard(path: Path) -> bool:
    """Whether a path is a shard of this workflow, which has its rows beside it."""
    rows = path.with_suffix(".parquet")
    if path.is_dir() or not rows.is_file():
        return False
    try:
        return set(SHARD_SCHEMA.names) <= set(pq.read_schema(rows).names)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{rows} is damaged, or no parquet file: {error}") from error


def read_encoded(path: Path) -> Iterator[tuple[str, Path, bytes]]:
    """Yield key, file and content of each image of a tar or folder.

    A shard of this workflow gives its readable samples, another tar its files that are named as
    images, a folder those at any depth, in the order of their names; their keys are their paths
    without suffix.

    Raises:
        UserError: a tar that is damaged or none, or a folder that cannot be read.
    """
    if path.is_dir():
        for file in files_below(path):
            if file.suffix.lower() in IMAGE_SUFFIXES:
                yield file.relative_to(path).with_suffix("").as_posix(), file, file.read_bytes()
    elif is_shard(path):
        try:
            for samples, contents in read_shard(path):
                for sample, content in zip(samples, contents, strict=True):
                    yield sample.key, path, content
        except pa.ArrowException as error:
            raise UserError(f"{path.with_suffix('.parquet')} is damaged: {error}") from error
    else:
        try:
            with tarfile.open(path) as tar:
                for member in tar:
                    name = Path(member.name)
                    if name.suffix.lower() in IMAGE_SUFFIXES and (
                        opened := tar.extractfile(member)
                    ):
                        yield name.with_suffix("").as_posix(), path, opened.read()
        except tarfile.TarError as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"{path} is no folder, no tar, or damaged: {reason}") from error
