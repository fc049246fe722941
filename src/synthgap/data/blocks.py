"""An index and a value for each of many images, found a block at a time by a job that may die."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synthgap.atomic import read_sealed, write_sealed
from synthgap.progress import Progress


class Blocks:
    """Parts of a number of images, and files that keep what was found for each.

    Args:
        folder: of the files.
        name: of what is found, for the files' names and the progress bar.
        total: images.
        rows: images of a part; the last may have fewer.
    """

    def __init__(self, folder: Path, name: str, total: int, rows: int) -> None:
        self.folder, self.name, self.total = folder, name, total
        self.parts = [slice(at, min(at + rows, total)) for at in range(0, total, rows)]

    def __iter__(self) -> Iterator[slice]:
        """Yield what is missing, with a progress bar; `keep` is to be called for each."""
        missing = self.missing
        done = self.total - sum(part.stop - part.start for part in missing)
        with Progress(self.total, f"images, {self.name}", done=done) as progress:
            for part in missing:
                yield part
                progress.update(part.stop - part.start)

    def _file(self, part: slice) -> Path:
        return self.folder / f"{self.name}-{part.start:09d}.npy"

    @property
    def missing(self) -> list[slice]:
        """What is still to be found."""
        return [part for part in self.parts if read_sealed(self._file(part)) is None]

    def keep(self, part: slice, index: NDArray[np.int64], value: NDArray[np.float64]) -> None:
        """Write what was found for a part of the images; from then on it is not missing."""
        content = io.BytesIO()
        # Both as float64, which holds any index exactly.
        np.save(content, np.stack([index.astype(np.float64), value]))
        write_sealed(self._file(part), content.getvalue())

    def whole(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return index and value of all images; nothing may be missing."""
        found = (read_sealed(self._file(part)) for part in self.parts)
        arrays = [np.load(io.BytesIO(content)) for content in found if content is not None]
        index, value = np.concatenate(arrays, axis=1)
        return index.astype(np.int64), value
