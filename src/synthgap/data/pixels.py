"""The pixels of many images of one size, decoded once into a file and mapped from there.

They come from tars (shards of this workflow, or any others) and from folders, in the order given.
"""

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synthgap.data.encoded import read_encoded
from synthgap.data.images import decode
from synthgap.errors import UserError
from synthgap.progress import Progress


@dataclass(frozen=True)
class Pixels:
    """Decoded images, and what they are called."""

    images: NDArray[np.uint8]
    """(n, height, width, 3), mapped from a file"""
    keys: list[str]
    """of shards' samples; of other files, their path without suffix"""
    digests: list[bytes]
    """of each image's pixels"""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return int(self.images.shape[2]), int(self.images.shape[1])

    def copies_of(self, others: "Pixels") -> int:
        """Return how many of these images are among the others, pixel by pixel."""
        known = set(others.digests)
        return sum(digest in known for digest in self.digests)


def gather_pixels(
    paths: Sequence[Path], file: Path, limit: int | None = None, keys: Sequence[str] | None = None
) -> Pixels:
    """Decode the images of tars and folders into `file`, one after the other.

    Args:
        paths: tars; folders, with images at any depth, taken in the order of their names.
        file: is overwritten; height * width * 3 bytes an image.
        limit: take that many, the first; all if None.
        keys: take images of these keys alone.

    Raises:
        UserError: no images or fewer than `limit`, images of different sizes, a damaged tar or
            image, a limit below 1, or a key that is not there.
    """
    if limit is not None and limit < 1:
        raise UserError(f"the number of images to take must be at least 1: {limit}")
    named = ", ".join(str(path) for path in paths[:3]) + (", ..." if len(paths) > 3 else "")
    shape: tuple[int, ...] | None = None
    found: list[str] = []
    digests: list[bytes] = []
    every: Iterator[tuple[str, Path, bytes]] = itertools.chain.from_iterable(
        map(read_encoded, paths)
    )
    if chosen := frozenset(keys or ()):
        every = (image for image in every if image[0] in chosen)
    with file.open("wb") as out, Progress(limit or 0, "images read") as progress:
        for key, where, content in itertools.islice(every, limit):
            try:
                image = decode(content)
            except (OSError, SyntaxError, ValueError) as error:
                raise UserError(f"{where} is damaged: image {key} is none ({error})") from error
            shape = shape or image.shape
            if image.shape != shape:
                raise UserError(
                    f"{where}: image {key} has {image.shape[1]} x {image.shape[0]} pixels and "
                    f"those before it {shape[1]} x {shape[0]}; prepare them at one size first"
                )
            pixels = image.tobytes()
            out.write(pixels)
            found.append(key)
            digests.append(hashlib.blake2b(pixels, digest_size=16).digest())
            progress.update()
    if shape is None:
        raise UserError(f"no images in {named}; expected JPEG, PNG or WebP files, or tars of them")
    if limit is not None and len(found) < limit:
        raise UserError(f"{named}: {len(found)} images, and {limit} are asked for; lower that")
    if missing := chosen - set(found):
        raise UserError(f"{named}: {len(missing)} chosen images are not there, {min(missing)} say")
    images = np.memmap(file, np.uint8, "r", shape=(len(found), *shape))
    return Pixels(images, found, digests)
