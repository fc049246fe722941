"""Real images from anywhere: each data set lists its images, then gives any one of them."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image, ImageOps

from synthgap.data.images import to_rgb
from synthgap.errors import UserError
from synthgap.seeds import derive_seed

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


class RealDataset(Protocol):
    """A plug for real images."""

    def entries(self) -> Iterator[tuple[str, str]]:
        """Yield (name, class name) of every image, always in the same order."""

    def load(self, name: str) -> Image.Image:
        """Return one image in RGB; raises OSError or SyntaxError where it cannot be read."""


@dataclass(frozen=True)
class Digits:
    """The 1 797 scanned digits of 8 x 8 pixels that ship inside scikit-learn."""

    CLASS_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

    @cached_property
    def _digits(self) -> Any:
        from sklearn.datasets import load_digits

        return load_digits()

    def entries(self) -> Iterator[tuple[str, str]]:
        """Yield the digits in scikit-learn's order, named by their position."""
        for position, target in enumerate(self._digits.target):
            yield f"digit-{position:04d}", self.CLASS_NAMES[target]

    def load(self, name: str) -> Image.Image:
        """Return a digit at its own size; its levels 0-16 become 0-255."""
        levels = self._digits.images[int(name.removeprefix("digit-"))]
        return Image.fromarray(np.round(levels * (255 / 16)).astype(np.uint8)).convert("RGB")


@dataclass(frozen=True)
class ImageFolder:
    """A folder with one folder a class, in which JPEG, PNG and WebP files lie at any depth."""

    folder: Path
    class_names: dict[str, str]

    def entries(self) -> Iterator[tuple[str, str]]:
        """Yield the files sorted by class and path; names are paths relative to the folder.

        Raises:
            UserError: no such folder, no class in it, a class without images, or a name in
                `class_names` that is no folder.
        """
        if not self.folder.is_dir():
            raise UserError(f"real.folder: no folder {self.folder}; it holds one folder a class")
        classes = sorted(p for p in self.folder.iterdir() if p.is_dir() and p.name[0] != ".")
        if not classes:
            raise UserError(
                f"real.folder: {self.folder} has no classes; it needs one folder a class with "
                "JPEG, PNG or WebP files"
            )
        if unknown := set(self.class_names) - {path.name for path in classes}:
            raise UserError(f"real.class_names: no folder {sorted(unknown)[0]} in {self.folder}")
        for class_folder in classes:
            files = sorted(p for p in class_folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
            if not files:
                raise UserError(f"real.folder: class {class_folder} has no JPEG, PNG or WebP file")
            for file in files:
                yield (
                    file.relative_to(self.folder).as_posix(),
                    self.class_names.get(class_folder.name, class_folder.name),
                )

    def load(self, name: str) -> Image.Image:
        """Return one image, turned as its EXIF says."""
        with Image.open(self.folder / name) as opened:
            opened.load()
            return to_rgb(ImageOps.exif_transpose(opened))


def open_dataset(dataset: str, folder: str | None, class_names: dict[str, str]) -> RealDataset:
    """Return the data set that the config's `real` names."""
    if dataset == "digits":
        return Digits()
    if dataset == "imagefolder" and folder is not None:
        return ImageFolder(Path(folder), class_names)
    raise UserError(f"real.dataset: no `{dataset}`; known: digits, imagefolder (with real.folder)")


def split_dataset(
    entries: list[tuple[str, str]], seed: int, val_fraction: float, test_fraction: float
) -> list[dict[str, Any]]:
    """Assign each image to a split, stratified by class.

    Within a class, images are ordered by a hash of (seed, name), so adding images to a folder
    moves few of the others. Within a split, rows come interleaved over the classes: the first
    ones hold every class evenly, as long as each has images left.

    Returns:
        Rows with key, name, class_index, class_name, split and seed (for views that draw); class
        indices follow the order in which class names first appear.

    Raises:
        UserError: a class with too few images to be in each split.
    """
    by_class: dict[str, list[str]] = {}
    for name, class_name in entries:
        by_class.setdefault(class_name, []).append(name)
    rows: list[dict[str, Any]] = []
    ranks: list[int] = []  # of a row among those of its class and split
    for class_index, (class_name, names) in enumerate(by_class.items()):
        shuffled = sorted(names, key=lambda n: hashlib.sha256(f"{seed}/{n}".encode()).digest())
        n_test = max(1, round(len(names) * test_fraction))
        n_val = max(1, round(len(names) * val_fraction))
        if n_test + n_val >= len(names):
            raise UserError(
                f"class {class_name} has {len(names)} images, too few for a training, a "
                "validation and a test image; add images or lower the fractions"
            )
        for position, name in enumerate(shuffled):
            is_test, is_val = position < n_test, position < n_test + n_val
            split = "test" if is_test else "val" if is_val else "train"
            first = 0 if is_test else n_test if is_val else n_test + n_val
            ranks.append(position - first)
            rows.append(
                {
                    "key": f"{class_index:04d}-{position:06d}",
                    "name": name,
                    "class_index": class_index,
                    "class_name": class_name,
                    "split": split,
                    "seed": derive_seed(seed, "real", class_name, name),
                }
            )
    order = sorted(range(len(rows)), key=lambda i: (ranks[i], rows[i]["class_index"]))
    return [rows[i] for i in order]
