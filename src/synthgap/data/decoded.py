"""The images of a manifest to train on: decoded once into a file, or each time they are needed.

Both are indexed like one uint8 array (n, height, width, 3), and give the same pixels.
"""

import logging
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import Executor
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from synthgap import checksums
from synthgap.data.shards import ImageReader, Manifest
from synthgap.errors import UserError
from synthgap.progress import Progress

log = logging.getLogger("synthgap")

# Of a disk's free room, what decoded images may take: other jobs write there, too.
SHARE_OF_DISK = 0.5
_AT_ONCE = 64


class Images(Protocol):
    """What an array of images, a mapped file and `EncodedImages` have in common."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, height, width, 3)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> NDArray[np.uint8]:
        """Return one image by its number, or several by a slice or an array of numbers."""


class EncodedImages:
    """Images that are read from their shards and decoded whenever they are asked for.

    Any number of threads may ask at the same time.

    Args:
        size: side in pixels that the images are resized to; None for their own.
        share: of their sides, see `centre`.

    Raises:
        UserError: the manifest has no images; later, a tar is damaged or the images differ in size.
    """

    def __init__(self, manifest: Manifest, size: int | None = None, share: float = 1.0) -> None:
        if not len(manifest):
            raise UserError(f"{manifest.path} has no images; a training needs one at least")
        self.path, self.size, self.share = manifest.path, size, share
        columns = (
            manifest.table[name].to_pylist() for name in ("shard", "offset", "length", "sha256")
        )
        self._places = list(zip(*columns, strict=True))
        self._reader = ImageReader()
        first = self._decode(0)
        self._own = first.shape
        self.shape = (len(manifest), *fitted(first, size, share).shape)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: Any, /) -> NDArray[np.uint8]:
        if isinstance(index, int | np.integer):
            return self._resized(int(index))
        return np.stack([self._resized(int(at)) for at in np.arange(len(self))[index]])

    def _resized(self, index: int) -> NDArray[np.uint8]:
        image = self._decode(index)
        if image.shape != self._own:
            (height, width), (own_height, own_width) = image.shape[:2], self._own[:2]
            raise UserError(
                f"{self.path}: images of different sizes, {own_width} x {own_height} and "
                f"{width} x {height}; prepare them at one size first"
            )
        return fitted(image, self.size, self.share)

    def _decode(self, index: int) -> NDArray[np.uint8]:
        shard, offset, length, sha256 = self._places[index]
        return self._reader.read_image(self.path.parent / shard, offset, length, sha256)


def resize(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return a square image of `size` pixels (bicubic, antialiased), as classifiers are tested."""
    resized = Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(resized)


def centre(image: NDArray[np.uint8], share: float) -> NDArray[np.uint8]:
    """Return the middle of an image: a share in 0..1 of its height and width, a pixel at least."""
    height, width = (max(1, round(share * side)) for side in image.shape[:2])
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]


def fitted(image: NDArray[np.uint8], size: int | None, share: float) -> NDArray[np.uint8]:
    """Return the middle of an image, in the size that a network sees; None for its own."""
    middle = centre(image, share)
    return middle if size is None or middle.shape[:2] == (size, size) else resize(middle, size)


def open_images(
    manifest: Manifest,
    cache: Path,
    size: int | None = None,
    pool: Executor | None = None,
    share: float = 1.0,
) -> Images:
    """Return the images of a manifest, from a file of their pixels where there is room for it.

    Args:
        cache: the file; written if it is not there. Its folder belongs to this manifest and size.
        size, share: as of `EncodedImages`.
        pool: decodes; the caller does where there is none.

    Raises:
        UserError: as `EncodedImages`.
    """
    encoded = EncodedImages(manifest, size, share)
    total = int(np.prod(encoded.shape))
    if not checksums.intact(cache):
        cache.parent.mkdir(parents=True, exist_ok=True)
        if total > SHARE_OF_DISK * (free := shutil.disk_usage(cache.parent).free):
            log.info(
                "decoding images anew in each epoch: their pixels would be %.1f GB, and %s has "
                "%.1f GB left", total / 1e9, cache.parent, free / 1e9,
            )  # fmt: skip
            return encoded
        _decode_all(encoded, cache, pool)
    return np.memmap(cache, np.uint8, "r", shape=encoded.shape)


def _decode_all(encoded: EncodedImages, cache: Path, pool: Executor | None) -> None:
    """Write the pixels of all images; the file has its name once it is whole."""
    part = cache.with_name(f".{cache.name}.{os.getpid()}")
    try:
        with part.open("wb") as file, Progress(len(encoded), "images decoded") as progress:
            numbers = iter(range(len(encoded)))
            while some := list(islice(numbers, _AT_ONCE)):
                for image in _mapped(encoded, some, pool):
                    file.write(image.tobytes())
                progress.update(len(some))
        part.replace(cache)
        checksums.note([cache])
    finally:
        part.unlink(missing_ok=True)


def _mapped(
    encoded: EncodedImages, some: list[int], pool: Executor | None
) -> Iterator[NDArray[np.uint8]]:
    return (pool.map if pool else map)(encoded.__getitem__, some)
