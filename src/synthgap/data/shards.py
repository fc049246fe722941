"""Shards: WebDataset tars with a parquet beside each, and the manifest that gathers them.

A shard is three files: `00003.tar` (for each sample KEY.png or another image, KEY.cls, KEY.txt
and KEY.json), `00003.parquet` (a row for each sample asked for, failed ones included) and
`00003.json` (the run's facts). The tar comes last, so where it is, the others are.
"""

import copy
import hashlib
import io
import json
import os
import tarfile
import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from synthgap import checksums
from synthgap.atomic import atomic_path, write_text
from synthgap.data.images import SUFFIXES, ImageFormat, decode, encode
from synthgap.data.parquet_tables import REFUSALS, read_table
from synthgap.errors import UserError

SHARD_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("class_index", pa.int32()),
        ("class_name", pa.string()),
        ("prompt", pa.string()),
        ("seed", pa.int64()),
        ("status", pa.string()),  # "ok", or what went wrong
        ("sha256", pa.string()),  # of the encoded image
        ("offset", pa.int64()),  # of the encoded image in the tar, in bytes
        ("length", pa.int64()),
        ("details", pa.string()),  # JSON: what only this kind of source has
    ]
)
NO_IMAGE = ("sha256", "offset", "length")  # that samples lack which failed
MANIFEST_SCHEMA = SHARD_SCHEMA.append(pa.field("shard", pa.string()))
# Only where it is true of some: the image was made from its label, which nobody had to give.
GIVEN_LABEL = pa.field("given_label", pa.bool_())


@dataclass(frozen=True)
class Sample:
    """What is known of one image besides its pixels."""

    key: str
    class_index: int
    class_name: str
    prompt: str = ""
    seed: int = 0
    details: dict[str, Any] = field(default_factory=dict)


class ShardWriter:
    """Write one shard; it becomes visible whole when the `with` block ends without an error.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> image = np.zeros((8, 8, 3), np.uint8)
        >>> with TemporaryDirectory() as folder:
        ...     with ShardWriter(Path(folder) / "00000.tar", "png") as shard:
        ...         shard.add(Sample("0000-000000", 0, "fox", prompt="a fox", seed=7), image)
        ...         shard.add_failed(Sample("0000-000001", 0, "fox"), "black")
        ...     gather([shard.tar], Path(folder) / "manifest.parquet", max_failed=1)
        ...     manifest = Manifest(Path(folder) / "manifest.parquet")
        ...     list(tar_members(shard.tar))[:3], manifest.classes, manifest.images().shape
        (['0000-000000.png', '0000-000000.cls', '0000-000000.txt'], ['fox'], (1, 8, 8, 3))
    """

    def __init__(self, tar: Path, image_format: ImageFormat) -> None:
        self.tar, self.image_format = Path(tar), image_format
        self.facts: dict[str, Any] = {}
        self.rows: list[dict[str, Any]] = []

    def add(self, sample: Sample, image: NDArray[np.uint8]) -> None:
        """Append a sample; `image` is uint8 RGB (height, width, 3)."""
        self.add_encoded(sample, encode(image, self.image_format))

    def add_encoded(self, sample: Sample, content: bytes) -> None:
        """Append a sample whose image is already encoded in the shard's format."""
        offset = self._append(f"{sample.key}.{SUFFIXES[self.image_format]}", content)
        described = asdict(sample)
        self._append(f"{sample.key}.cls", str(sample.class_index).encode())
        self._append(f"{sample.key}.txt", sample.prompt.encode())
        self._append(f"{sample.key}.json", json.dumps(described, sort_keys=True).encode())
        digest = hashlib.sha256(content).hexdigest()
        self._add_row(sample, status="ok", sha256=digest, offset=offset, length=len(content))

    def add_failed(self, sample: Sample, reason: str) -> None:
        """Record a sample that has no image, and why."""
        self._add_row(sample, status=reason, sha256=None, offset=None, length=None)

    def failed(self) -> list[dict[str, Any]]:
        """Return the rows of samples that failed."""
        return [row for row in self.rows if row["status"] != "ok"]

    def _add_row(self, sample: Sample, **measured: Any) -> None:
        details = json.dumps(sample.details, sort_keys=True)
        self.rows.append(asdict(sample) | {"details": details} | measured)

    def _append(self, name: str, content: bytes) -> int:
        """Append a member and return the offset of its content."""
        info = tarfile.TarInfo(name)  # owner 0, time 0: the same bytes each time
        info.size, info.mode = len(content), 0o444
        header = info.tobuf(tarfile.USTAR_FORMAT)
        offset = self._file.tell() + len(header)
        padding = -len(content) % tarfile.BLOCKSIZE
        self._file.write(header + content + bytes(padding))
        return offset

    def __enter__(self) -> Self:
        self._atomic = atomic_path(self.tar)
        self._file = self._atomic.__enter__().open("wb")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._file.write(bytes(2 * tarfile.BLOCKSIZE))
                self._file.close()
                self._write_rows()
                write_text(self.tar.with_suffix(".json"), json.dumps(self.facts, indent=1) + "\n")
        except BaseException as failure:
            kind, error, trace = type(failure), failure, failure.__traceback__
            self._atomic.__exit__(kind, error, trace)
            raise
        self._file.close()
        self._atomic.__exit__(kind, error, trace)

    def _write_rows(self) -> None:
        size = str(self._file_size()).encode()
        schema = SHARD_SCHEMA.with_metadata({"tar_bytes": size})
        with atomic_path(self.tar.with_suffix(".parquet")) as part:
            pq.write_table(pa.Table.from_pylist(self.rows, schema), part)

    def _file_size(self) -> int:
        return Path(self._file.name).stat().st_size


def read_rows(tar: Path) -> pa.Table:
    """Return the rows of a shard, checking that they are whole and its tar is.

    Raises:
        UserError: the tar is missing, or shorter or longer than when it was written; or its rows or
            facts are damaged, or not those of a shard.
    """
    tar = Path(tar)
    checksums.check([tar])
    beside = tar.with_suffix(".parquet")
    rows = read_table(beside, SHARD_SCHEMA, "the job that wrote the tar beside it", NO_IMAGE)
    told = (rows.schema.metadata or {}).get(b"tar_bytes", b"-1")
    expected = int(told) if told.isdigit() else -1
    found = tar.stat().st_size if tar.exists() else 0
    if found != expected:
        raise UserError(
            f"{tar} is damaged: it has {found} bytes and was written with {expected}; delete it "
            "and run snakemake again to make it anew"
        )
    _require_places(beside, rows, expected)
    return rows


def _require_places(path: Path, rows: pa.Table, size: int) -> None:
    """Check that all images lie within the tar, which has so many bytes."""
    made = rows.filter(pc.equal(rows["status"], "ok"))
    starts, lengths = (made[name].combine_chunks() for name in ("offset", "length"))
    if made["sha256"].null_count or starts.null_count or lengths.null_count:
        raise UserError(f"{path} is damaged: an image that is `ok` lacks its place in the tar")
    first, last = np.asarray(starts, np.int64), np.asarray(lengths, np.int64)
    if ((first < 0) | (last < 0) | (last > size) | (first > size - last)).any():
        raise UserError(f"{path} is damaged: an image lies beyond the end of its tar")


def count_readable(tars: Sequence[Path]) -> int:
    """Return the number of images in some shards, without the samples that failed."""
    return sum(read_rows(tar)["status"].to_pylist().count("ok") for tar in tars)


def read_shard(tar: Path, batch: int = 64) -> Iterator[tuple[list[Sample], list[bytes]]]:
    """Yield the readable samples of a shard and their encoded images, `batch` at a time."""
    rows = read_rows(tar).to_pylist()
    rows = [row for row in rows if row["status"] == "ok"]
    with ImageReader() as reader:
        for start in range(0, len(rows), batch):
            part = rows[start : start + batch]
            images = [
                reader.read_bytes(Path(tar), row["offset"], row["length"], row["sha256"])
                for row in part
            ]
            yield [sample_of(row) for row in part], images


def image_of(key: str, details: str) -> str:
    """Return the key of the image that a sample shows a part of; the sample's own if it is whole.

    Args:
        key, details: of a shard's or manifest's row.
    """
    copy = json.loads(details).get("copy") if '"copy"' in details else None
    return key if copy is None else key.removesuffix(f"-{copy}")


def sample_of(row: dict[str, Any]) -> Sample:
    """Return the `Sample` that a shard's or manifest's row describes."""
    return Sample(
        key=row["key"],
        class_index=row["class_index"],
        class_name=row["class_name"],
        prompt=row["prompt"],
        seed=row["seed"],
        details=json.loads(row["details"]),
    )


class ImageReader:
    """Read encoded images from anywhere in any number of tars, keeping a few files open.

    Any number of threads may read at the same time. Files are closed at the end of a `with`, or
    when the reader itself is gone.
    """

    MOST_OPEN = 256  # a process may have some 1000

    def __init__(self) -> None:
        self._files: dict[Path, int] = {}
        self._lock = threading.Lock()
        weakref.finalize(self, _close, self._files)

    def read_bytes(self, tar: Path, offset: int, length: int, sha256: str | None) -> bytes:
        """Return `length` bytes at `offset`.

        Args:
            sha256: what the shard's rows say of them; None to compare nothing.

        Raises:
            UserError: the tar is cut short, or these are not the bytes that were written.
        """
        with self._lock:
            if tar not in self._files:
                if len(self._files) >= self.MOST_OPEN:
                    os.close(self._files.pop(next(iter(self._files))))
                self._files[tar] = os.open(tar, os.O_RDONLY)
            file = os.dup(self._files[tar])  # another thread may close the file itself
        try:
            content = os.pread(file, length, offset)
        finally:
            os.close(file)
        if len(content) != length:
            raise UserError(
                f"{tar} is cut short: no image of {length} bytes at {offset}; delete it and run "
                "snakemake again to make it anew"
            )
        if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
            raise UserError(
                f"{tar} is damaged: the image at byte {offset} is not the one that was written; "
                "delete it and run snakemake again to make it anew"
            )
        return content

    def read_image(
        self, tar: Path, offset: int, length: int, sha256: str | None
    ) -> NDArray[np.uint8]:
        """Return an image, uint8 (height, width, 3); UserError if it is none, or not that one."""
        content = self.read_bytes(tar, offset, length, sha256)
        try:
            return decode(content)
        except (OSError, SyntaxError, ValueError) as error:
            raise UserError(
                f"{tar} is damaged: no image at byte {offset} ({error}); delete it and run "
                "snakemake again to make it anew"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _close(self._files)


def _close(files: dict[Path, int]) -> None:
    while files:
        os.close(files.popitem()[1])


def _read_manifest(path: Path) -> pa.Table:
    schema = MANIFEST_SCHEMA
    try:
        # What further columns there are (`GIVEN_LABEL`, those of `data.choice`) is kept.
        for column in pq.read_schema(path):
            schema = schema if column.name in MANIFEST_SCHEMA.names else schema.append(column)
    except REFUSALS:
        pass  # told below
    return read_table(path, schema, "the job before", ("prompt", "seed", "sha256", "details"))


class Manifest:
    """The samples of one source, split and view: rows in a fixed order, images on request."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.table = _read_manifest(self.path)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def classes(self) -> list[str]:
        """Class names by class index."""
        try:
            names: list[str] = json.loads(self.table.schema.metadata[b"classes"])
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{self.path} is damaged: its metadata tell no classes") from error
        return names

    @property
    def class_indices(self) -> NDArray[np.int64]:
        """Class index of each sample, shape (n,)."""
        return np.asarray(self.table["class_index"].to_numpy(), dtype=np.int64)

    @property
    def given_labels(self) -> NDArray[np.bool_]:
        """Of which samples of a blend the label came with them (see `data.blends`), shape (n,)."""
        if GIVEN_LABEL.name not in self.table.column_names:
            return np.zeros(len(self), bool)
        return np.asarray(self.table[GIVEN_LABEL.name].to_numpy(), dtype=bool)

    def only(self, rows: NDArray[np.bool_]) -> "Manifest":
        """Return the manifest with some of its rows alone, (n,) bool."""
        part = copy.copy(self)
        part.table = self.table.filter(pa.array(rows))
        return part

    def images(self, indices: Sequence[int] | None = None) -> NDArray[np.uint8]:
        """Return images as one uint8 array (n, height, width, 3).

        Raises:
            UserError: a tar is damaged, or the images differ in size.
        """
        table = self.table if indices is None else self.table.take(list(indices))
        places = zip(
            table["shard"].to_pylist(),
            table["offset"].to_pylist(),
            table["length"].to_pylist(),
            table["sha256"].to_pylist(),
            strict=True,
        )
        with ImageReader() as reader:
            images = [
                reader.read_image(self.path.parent / shard, offset, length, sha256)
                for shard, offset, length, sha256 in places
            ]
        sizes = {image.shape for image in images}
        if len(sizes) > 1:
            raise UserError(
                f"{self.path}: images of different sizes {sorted(s[:2] for s in sizes)}; "
                "prepare them at one size first"
            )
        return np.stack(images) if images else np.zeros((0, 0, 0, 3), np.uint8)


def gather(tars: Sequence[Path], manifest: Path, max_failed: int = 0) -> None:
    """Write the manifest of `tars`: one row for each readable sample, in shard order.

    Raises:
        UserError: a tar is damaged, or more than `max_failed` samples failed in all shards.
    """
    manifest = Path(manifest)
    tables, failed = [], []
    for tar in tars:
        rows = read_rows(Path(tar))
        ok = np.asarray([status == "ok" for status in rows["status"].to_pylist()], dtype=bool)
        failed += rows.filter(pa.array(~ok)).select(["key", "status"]).to_pylist()
        rows = rows.filter(pa.array(ok))
        name = os.path.relpath(tar, manifest.parent)
        tables.append(rows.append_column("shard", pa.array([name] * rows.num_rows, pa.string())))
    if len(failed) > max_failed:
        listed = "; ".join(f"{row['key']}: {row['status']}" for row in failed[:5])
        raise UserError(
            f"{manifest.parent}: {len(failed)} samples failed, at most {max_failed} are allowed "
            f"({listed}{'; ...' if len(failed) > 5 else ''})"
        )
    write_manifest(manifest, pa.concat_tables(t.replace_schema_metadata(None) for t in tables))


def write_manifest(path: Path, table: pa.Table, classes: Sequence[str] | None = None) -> None:
    """Write rows of `MANIFEST_SCHEMA` atomically; class names default to those of the rows.

    A column `GIVEN_LABEL` is written, too, where there is one.

    Raises:
        UserError: `classes` is not given, and the rows lack a class below their highest one.
    """
    given = GIVEN_LABEL.name in table.column_names
    table = table.cast(MANIFEST_SCHEMA.append(GIVEN_LABEL) if given else MANIFEST_SCHEMA)
    if classes is None:
        pairs = zip(table["class_index"].to_pylist(), table["class_name"].to_pylist(), strict=True)
        names = dict(pairs)
        if missing := set(range(max(names, default=-1) + 1)) - names.keys():
            raise UserError(f"{path}: no readable image of class number {min(missing)}")
        classes = [names[index] for index in sorted(names)]
    metadata = {"classes": json.dumps(list(classes))}
    with atomic_path(path) as part:
        pq.write_table(table.replace_schema_metadata(metadata), part)


def tar_members(tar: Path) -> dict[str, bytes]:
    """Return all members of a small tar by name, for tests and notebooks."""
    with tarfile.open(fileobj=io.BytesIO(Path(tar).read_bytes())) as opened:
        return {m.name: opened.extractfile(m).read() for m in opened}  # type: ignore[union-attr]
