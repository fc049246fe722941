"""Images in parquet files as the Hugging Face hub has them: columns `image` and `label`."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from synthgap.data.class_tables import Classes
from synthgap.data.images import read_rgb
from synthgap.data.real.files import folder_of, matching, names_of
from synthgap.errors import UserError


@dataclass(frozen=True)
class ParquetImages:
    """Parquet files with the columns `image` (bytes in a struct) and `label` (an integer).

    With a class table of synsets, the integer is ImageNet-1k's label unless the file's metadata
    names labels by synset; otherwise the class's label in table and `class_names` is the name that
    the metadata gives, or the integer itself.
    """

    pattern: str
    classes: Classes
    option: str = "real.folder"
    _open: dict[str, "_Rows"] = field(default_factory=dict, repr=False)

    def entries(self) -> Iterator[tuple[str, str]]:
        """Yield the images by class, file and row; names are FILE:ROW. Reads labels alone.

        A name has no folder, so that the same files are split alike wherever they lie.

        Raises:
            UserError: no files, one that is damaged or has other columns, labels without a name,
                or classes that are not there.
        """
        files = matching(self.pattern, ".parquet", self.option)
        labels: list[NDArray[np.int64]] = []
        own: list[str] | None = None
        for file in files:
            try:
                schema = pq.read_schema(file)
                _check(schema)
                column = pq.read_table(file, columns=["label"])["label"]
            except (pa.ArrowException, OSError, _WrongColumnsError) as error:
                raise UserError(f"{self.option}: {file} is damaged, or {error}") from error
            if column.null_count:
                raise UserError(f"{self.option}: {file}: {column.null_count} rows have no label")
            labels.append(column.to_numpy())
            told = _label_names(schema)
            if labels[1:] and told != own:
                raise UserError(
                    f"{self.option}: {file} has other names of its labels than {files[0]}; the "
                    "files must be of one data set"
                )
            own = told
        if not sum(map(len, labels)):
            raise UserError(f"{self.option}: no rows in {self.pattern}")
        where = f"{self.option}: {files[0]}"
        names = names_of(np.unique(np.concatenate(labels)).tolist(), self.classes, where, own)
        for label, name in names.items():
            for file, of_file in zip(files, labels, strict=True):
                for row in np.flatnonzero(of_file == label):
                    yield f"{file.name}:{row}", name

    def load(self, name: str) -> Image.Image:
        """Return one image, turned as its EXIF says; its row group is read and kept."""
        file, _, row = name.rpartition(":")
        if file not in self._open:
            # One at a time: hundreds of files would pass the limit of open ones.
            for rows in self._open.values():
                rows.close()
            self._open.clear()
            self._open[file] = _Rows(folder_of(self.pattern) / file)
        return read_rgb(self._open[file].content(int(row)))


class _WrongColumnsError(Exception):
    pass


class _Rows:
    """The images of one file by row; the row group that was read last is kept."""

    def __init__(self, path: Path) -> None:
        self._file = pq.ParquetFile(path)
        groups = self._file.metadata
        sizes = [groups.row_group(i).num_rows for i in range(groups.num_row_groups)]
        self._starts = np.cumsum([0, *sizes])
        self._group, self._images = -1, pa.chunked_array([], pa.null())

    def content(self, row: int) -> bytes:
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        if group != self._group:
            self._images = self._file.read_row_group(group, columns=["image.bytes"])["image"]
            self._group = group
        image = self._images[row - int(self._starts[group])].as_py()
        if not image or not image["bytes"]:
            raise ValueError("the row has no bytes of an image")
        content: bytes = image["bytes"]
        return content

    def close(self) -> None:
        self._file.close()


def _check(schema: pa.Schema) -> None:
    kinds = dict(zip(schema.names, schema.types, strict=True))
    image, label = (kinds.get(name, pa.null()) for name in ("image", "label"))
    held = {image.field(i).name: image.field(i).type for i in range(image.num_fields)}
    content = held.get("bytes", pa.null())
    if not (pa.types.is_binary(content) or pa.types.is_large_binary(content)):
        raise _WrongColumnsError(
            "has no columns `image` and `label`: image is no struct with bytes"
        )
    if not pa.types.is_integer(label):
        raise _WrongColumnsError(
            f"has no columns `image` and `label`: label is {label}, no integer"
        )


def _label_names(schema: pa.Schema) -> list[str] | None:
    """The names that a file's metadata gives to its labels, if it does."""
    try:
        told = json.loads((schema.metadata or {})[b"huggingface"])
        names: list[str] = told["info"]["features"]["label"]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return names
