"""Feature files: what an encoder sees in each image, a row an image.

A parquet file with `key`, `class_index`, `class_name`, `sha256` (of the encoded image) and
`features`, a list of fixed length in float16 or float32; the file's metadata has the encoder's
identity, as JSON. Bytes
of equal rank are stored side by side and compressed with zstd: features after a ReLU take 0.55 of
their raw size and others 0.85, and are read about as fast as uncompressed (0.35 to 0.8 GB/s).
"""

import hashlib
import io
import json
import logging
import os
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from synthgap.atomic import atomic_path
from synthgap.errors import UserError

log = logging.getLogger("synthgap")

Values = NDArray[np.floating[Any]]

STORES = ("float32", "float16")
# Of images without one, as in other people's folders.
UNKNOWN_CLASS = -1
IDENTITY = b"encoder"
LISTED = 3
ROWS_AT_ONCE = 1024
READ_AT_ONCE = 1 << 20  # bytes of each column


class FeatureWriter:
    """Write a feature file by and by; it appears whole when the `with` block ends without an error.

    Args:
        identity: of the encoder, see `synthgap.encoders.Encoder`.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self.path, self.identity = Path(path), identity
        self._writer: pq.ParquetWriter | None = None

    def write(
        self,
        keys: Sequence[str],
        classes: Sequence[tuple[int, str]],
        digests: Sequence[str],
        features: Values,
    ) -> None:
        """Append rows; `features` is float16 or float32 (n, d), a class is its index and name.

        Raises:
            UserError: features that are not finite.
        """
        if str(features.dtype) not in STORES:
            raise UserError(f"features are stored as {' or '.join(STORES)}, not {features.dtype}")
        refuse_infinite(self.path, keys, features)
        columns = {
            "key": pa.array(keys, pa.string()),
            "class_index": pa.array(
                [None if index == UNKNOWN_CLASS else index for index, _ in classes], pa.int32()
            ),
            "class_name": pa.array([name for _, name in classes], pa.string()),
            "sha256": pa.array(digests, pa.string()),
            "features": pa.FixedSizeListArray.from_arrays(
                pa.array(np.ascontiguousarray(features).ravel()), features.shape[1]
            ),
        }
        told = {IDENTITY: json.dumps(self.identity, sort_keys=True)}
        table = pa.table(columns).replace_schema_metadata(told)
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                self._part,
                table.schema,
                compression="zstd",
                use_dictionary=False,
                write_statistics=False,
                column_encoding={"features.list.element": "BYTE_STREAM_SPLIT"},
            )
        self._writer.write_table(table)

    def __enter__(self) -> Self:
        self._atomic = atomic_path(self.path)
        self._part = self._atomic.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._writer is not None:
                self._writer.close()
            elif error is None:
                raise UserError(f"{self.path}: there are no features to write")
        except BaseException as failure:
            self._atomic.__exit__(type(failure), failure, failure.__traceback__)
            raise
        self._atomic.__exit__(kind, error, trace)


def write_features(
    path: Path,
    keys: Sequence[str],
    classes: Sequence[tuple[int, str]],
    digests: Sequence[str],
    features: Values,
    identity: Mapping[str, Any],
) -> None:
    """Write a feature file atomically; see `FeatureWriter`."""
    with FeatureWriter(path, identity) as writer:
        for start in range(0, len(keys), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            writer.write(keys[rows], classes[rows], digests[rows], features[rows])


def stored(features: NDArray[np.float32], store: str) -> Values:
    """Return features (n, d) as they are stored. UserError where float16 cannot hold them."""
    if store not in STORES:
        raise UserError(f"features are stored as {' or '.join(STORES)}, not {store}")
    with np.errstate(over="ignore"):
        cast: Values = features.astype(store)
    if not np.isfinite(cast).all() and np.isfinite(features).all():
        raise UserError(
            f"float16 ends at 65504, and a feature is {np.abs(features).max():.6g}; set "
            "`store: float32` for this encoder"
        )
    return cast


def refuse_infinite(path: Path, keys: Sequence[str], features: Values) -> None:
    """Raise UserError where a feature is NaN or infinite; it would make every metric so."""
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        first = ", ".join(keys[place] for place in bad[:LISTED])
        raise UserError(f"{path}: NaN or infinite features of {len(bad)} images, the first {first}")


class Features:
    """Feature files as one array on disk, so that memory stays bounded whatever their size.

    Files of others will do, too: those need `key` and `features` only, and features may be lists
    of equal length and float64. Rows come in the order of the files.

    Args:
        paths: one file or several shards of one encoder.
        samples: that many rows from the start; None for all.
        classes: rows of these class indices alone, before they are counted; None for all.
        folder: for the array, where it has no name; that of temporary files by default.

    Attributes:
        values: (n, d) in the stored dtype, memory-mapped and read-only.
        keys: n names.
        class_indices: int64 (n,), or None where a file has none.
        class_names: of each class index, where files tell them.
        identity: of the encoder; None in files of others.

    Raises:
        UserError: a file is no such parquet or another encoder's; a feature is not finite or a list
            of another length; a key comes twice; there are fewer rows than `samples`, or none.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        samples: int | None = None,
        folder: Path | None = None,
        classes: Sequence[int] | None = None,
    ) -> None:
        self.keys: list[str] = []
        self.class_indices: NDArray[np.int64] | None = None
        self.class_names: dict[int, str] = {}
        self.identity: dict[str, Any] | None = None
        self.width = 0
        self._dtype: np.dtype[Any] = np.dtype(np.float32)
        self._seen: set[str] = set()
        self._classes: list[NDArray[np.int64]] = []
        if folder is not None:
            Path(folder).mkdir(parents=True, exist_ok=True)
        # It has no name, so that SIGKILL leaves nothing behind; what is mapped stays.
        with tempfile.TemporaryFile(dir=folder) as file:
            self._read([Path(path) for path in paths], samples, classes, file)
            file.flush()
            self.values: Values = np.memmap(
                file, self._dtype, mode="r", shape=(len(self.keys), self.width)
            )

    def __len__(self) -> int:
        return len(self.keys)

    def close(self) -> None:
        """Do nothing: what holds `values` keeps the array until it is gone."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(
        self,
        paths: Sequence[Path],
        samples: int | None,
        classes: Sequence[int] | None,
        out: IO[bytes],
    ) -> None:
        files = [(path, _open(path)) for path in paths]
        found = _count(files, classes)
        names = (
            f"{paths[0]}{f' and {len(paths) - 1} more' * (len(paths) > 1)}" if paths else "no file"
        )
        if not found:
            which = "" if classes is None else f" of images of the classes {list(classes)}"
            raise UserError(f"{names}: there are no features{which}; encode some images first")
        if samples is not None and found < samples:
            raise UserError(f"{names}: {found} images, and {samples} are asked for; ask for fewer")
        wanted = found if samples is None else samples
        # Written, not mapped for writing: a full disk is then an error and not a crash.
        for number, (path, file) in enumerate(files):
            self._compare(path, file, paths[0] if number else None)
            for rows in _batches(path, file):
                rows = rows if classes is None else _of_classes(path, rows, classes)
                rows = rows.slice(0, wanted - len(self.keys))
                if rows.num_rows:
                    out.write(self._add(path, rows).tobytes())
            if len(self.keys) == wanted:
                break
        if all(len(part) for part in self._classes):
            self.class_indices = np.concatenate(self._classes)
        self._seen.clear()

    def _compare(self, path: Path, file: Any, first: Path | None) -> None:
        """Check that a file is of the same encoder as the first."""
        raw = (file.schema_arrow.metadata or {}).get(IDENTITY)
        try:
            identity = None if raw is None else dict(json.loads(raw))
        except (TypeError, ValueError) as error:
            raise UserError(f"{path}: its metadata `encoder` is no JSON object") from error
        if first is None:
            self.identity = identity
        elif identity != self.identity:
            raise UserError(f"{path} is of another encoder than {first}; give shards of one")

    def _add(self, path: Path, rows: Any) -> Values:
        """Return the features of some rows, checked, and note what else they have."""
        keys = _keys(path, rows)
        for key in keys:
            if key in self._seen:
                raise UserError(f"{path}: the key {key} comes twice")
            self._seen.add(key)
        values = _values(path, keys, rows.column("features"))
        if not self.keys:
            self.width, self._dtype = values.shape[1], values.dtype
        if (values.shape[1], values.dtype) != (self.width, self._dtype):
            raise UserError(
                f"{path}: features of {values.shape[1]} numbers in {values.dtype}, and before of "
                f"{self.width} in {self._dtype}; give shards of one encoder"
            )
        refuse_infinite(path, keys, values)
        self.keys += keys
        classes = np.zeros(0, np.int64)
        if "class_index" in rows.schema.names and not rows.column("class_index").null_count:
            if not pa.types.is_integer(kind := rows.column("class_index").type):
                raise UserError(f"{path}: `class_index` must be whole numbers, not {kind}")
            classes = np.asarray(rows.column("class_index").to_numpy(), np.int64)
            if "class_name" in rows.schema.names:
                names = rows.column("class_name").to_pylist()
                self.class_names |= dict(zip(classes.tolist(), names, strict=True))
        self._classes.append(classes)
        return values


def count_rows(paths: Sequence[Path], classes: Sequence[int] | None = None) -> int:
    """Return the number of images, of some classes, in files. UserError where one is none."""
    return _count([(Path(path), _open(Path(path))) for path in paths], classes)


def _count(files: Sequence[tuple[Path, Any]], classes: Sequence[int] | None) -> int:
    if classes is None:
        return sum(file.metadata.num_rows for _, file in files)
    return sum(
        _of_classes(path, rows, classes).num_rows
        for path, file in files
        for rows in file.iter_batches(ROWS_AT_ONCE, columns=["class_index"])
    )


def _of_classes(path: Path, rows: Any, classes: Sequence[int]) -> Any:
    """Return the rows of some classes."""
    if "class_index" not in rows.schema.names:
        raise UserError(f"{path} has no column `class_index` to choose classes by")
    return rows.filter(pc.is_in(rows.column("class_index"), pa.array(classes, pa.int32())))


def require_same_encoder(first: Features, second: Features) -> None:
    """Raise UserError where both tell their encoder, and it is not the same."""
    if None in (first.identity, second.identity) or first.identity == second.identity:
        return
    one, other = first.identity or {}, second.identity or {}
    differ = sorted(key for key in {*one, *other} if one.get(key) != other.get(key))
    raise UserError(
        f"real and generated features come from different encoders: they differ in "
        f"{', '.join(differ)}; encode both sides with one"
    )


def _open(path: Path) -> Any:
    try:
        # Buffered, or a whole group of rows, which may be the whole file, is read at once.
        file = pq.ParquetFile(path, pre_buffer=False, buffer_size=READ_AT_ONCE)
    except FileNotFoundError:
        raise UserError(f"no such file: {path}") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path} is no parquet file: {error}") from error
    for name in ("key", "features"):
        if name not in file.schema_arrow.names:
            columns = ", ".join(file.schema_arrow.names)
            raise UserError(f"{path} has no column `{name}`; it has {columns}")
    return file


def _batches(path: Path, file: Any) -> Iterator[Any]:
    known = ("key", "class_index", "class_name", "features")
    columns = [name for name in known if name in file.schema_arrow.names]
    try:
        yield from file.iter_batches(ROWS_AT_ONCE, columns=columns)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path} is damaged: {error}") from error


def _keys(path: Path, rows: Any) -> list[str]:
    keys = rows.column("key")
    if keys.null_count or not (
        pa.types.is_string(keys.type) or pa.types.is_large_string(keys.type)
    ):
        raise UserError(f"{path}: `key` must be a text in every row, not {keys.type} or nothing")
    found: list[str] = keys.to_pylist()
    return found


def _values(path: Path, keys: list[str], column: Any) -> Values:
    """Return a column of lists as an array (n, d)."""
    kind = column.type
    fixed = pa.types.is_fixed_size_list(kind)
    if not (fixed or pa.types.is_list(kind) or pa.types.is_large_list(kind)) or not (
        pa.types.is_floating(kind.value_type)
    ):
        raise UserError(f"{path}: `features` must be lists of floating-point numbers, not {kind}")
    lengths = pc.list_value_length(column).fill_null(0).to_numpy()
    width = kind.list_size if fixed else int(lengths[0])
    if len(wrong := np.flatnonzero((lengths != width) | (lengths == 0))):
        key = keys[wrong[0]]
        raise UserError(
            f"{path}: {key} has {lengths[wrong[0]]} features and the others {width}; all need "
            "the same number"
        )
    values: Values = column.flatten().to_numpy(zero_copy_only=False).reshape(len(keys), width)
    return values


class FeatureCache:
    """Features by what they are of, so that no image passes an encoder twice.

    A file a chunk of images, named by a hash of the encoder's identity, the stored dtype and the
    images' hashes; so it does not matter where images lie. Several jobs may write at once.

    Args:
        folder: of all caches.
        identity: all that decides features; see `synthgap.encoders.Encoder`.
        store: float32 or float16.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], store: str = "float32") -> None:
        self.folder, self.store = Path(folder), store
        self._told = json.dumps({"encoder": identity, "store": store}, sort_keys=True)

    def _path(self, digests: Sequence[str]) -> Path:
        key = hashlib.sha256("\n".join([self._told, *digests]).encode()).hexdigest()
        return self.folder / key[:2] / f"{key}.features"

    def get(self, digests: Sequence[str]) -> Values | None:
        """Return the features (n, d) of a chunk, or None where they are not there, or damaged."""
        path = self._path(digests)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        if hashlib.sha256(content[32:]).digest() != content[:32]:
            log.warning("%s is damaged; its %d images are encoded anew", path, len(digests))
            return None
        features: Values = np.load(io.BytesIO(content[32:]), allow_pickle=False)
        return features

    def put(self, digests: Sequence[str], features: Values) -> None:
        """Keep the features (n, d) of a chunk."""
        buffer = io.BytesIO()
        np.save(buffer, features, allow_pickle=False)
        path, payload = self._path(digests), buffer.getvalue()
        # Not under one name for all: another job may write the same chunk now.
        mine = path.with_suffix(f".{os.getpid()}-{uuid.uuid4().hex[:8]}")
        with atomic_path(mine) as part:
            part.write_bytes(hashlib.sha256(payload).digest() + payload)
        mine.replace(path)
