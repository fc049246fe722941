"""Real images from anywhere: each data set lists its images, then gives any one of them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from synthgap.data.class_tables import Classes, read_class_table
from synthgap.data.real.cifar10 import Cifar10
from synthgap.data.real.digits import Digits
from synthgap.data.real.files import require_apart
from synthgap.data.real.folders import IMAGE_SUFFIXES, ImageFolder
from synthgap.data.real.parquet import ParquetImages
from synthgap.data.real.splits import split_dataset
from synthgap.data.real.webdataset import WebDatasetImages
from synthgap.errors import UserError

__all__ = [
    "IMAGE_SUFFIXES",
    "Digits",
    "ImageFolder",
    "RealDataset",
    "RealImages",
    "open_dataset",
    "split_dataset",
]

_TEST = "test:"


class RealDataset(Protocol):
    """A plug for real images."""

    def entries(self) -> Iterator[tuple[str, str]]:
        """Yield (name, class name) of every image, always in the same order."""

    def load(self, name: str) -> Image.Image:
        """Return one image in RGB; raises OSError or ValueError where it cannot be read."""


@dataclass(frozen=True)
class RealImages:
    """A data set, and another one for its test images where these are a set of their own."""

    images: RealDataset
    tests: RealDataset | None = None

    def entries(self) -> list[tuple[str, str]]:
        """Name and class name of every image, but for tests that are a set of their own."""
        return list(self.images.entries())

    def test_entries(self) -> list[tuple[str, str]] | None:
        """Those of the test images; None where they are to be taken out of the others."""
        if self.tests is None:
            return None
        return [(f"{_TEST}{name}", class_name) for name, class_name in self.tests.entries()]

    def load(self, name: str) -> Image.Image:
        """Return one image in RGB; raises OSError or ValueError where it cannot be read."""
        if self.tests is not None and name.startswith(_TEST):
            return self.tests.load(name.removeprefix(_TEST))
        return self.images.load(name)


def open_dataset(options: Mapping[str, Any], section: str = "real") -> RealImages:
    """Return the data set that a section of the config describes.

    Args:
        options: `dataset`, and as far as it has them `folder`, `test_folder`, `class_names` and
            `class_table`.
        section: `real`, or an image set's, for messages.

    Raises:
        UserError: an unknown data set, a class table that cannot be read, or test images that
            are among the others.
    """
    table = options.get("class_table")
    classes = Classes(read_class_table(table) if table else None, options.get("class_names") or {})
    kind, folder = options["dataset"], options.get("folder")
    if kind == "digits":
        return RealImages(Digits())
    if kind == "cifar10" and folder:
        train, test = (Cifar10(Path(folder), part, classes) for part in (True, False))
        return RealImages(train, test)
    if kind not in _FILES or not folder:
        known = ", ".join(["digits", "cifar10", *_FILES])
        raise UserError(
            f"{section}.dataset: no `{kind}`; known: {known} (all but digits with a folder)"
        )
    tests = options.get("test_folder")
    if tests:
        require_apart(folder, tests, {"webdataset": ".tar", "parquet": ".parquet"}.get(kind))
    make = _FILES[kind]
    return RealImages(
        make(folder, classes, f"{section}.folder"),
        make(tests, classes, f"{section}.test_folder") if tests else None,
    )


def _image_folder(place: str, classes: Classes, option: str) -> RealDataset:
    return ImageFolder(Path(place), classes, option)


_FILES: dict[str, Callable[[str, Classes, str], RealDataset]] = {
    "imagefolder": _image_folder,
    "webdataset": WebDatasetImages,
    "parquet": ParquetImages,
}
