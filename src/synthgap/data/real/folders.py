"""Images in folders, one a class."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from synthgap.data.class_folders import IMAGE_SUFFIXES, list_images
from synthgap.data.class_tables import Classes
from synthgap.data.images import read_rgb

__all__ = ["IMAGE_SUFFIXES", "ImageFolder"]


@dataclass(frozen=True)
class ImageFolder:
    """A folder with one folder a class, in which JPEG, PNG and WebP files lie at any depth."""

    folder: Path
    classes: Classes | Mapping[str, str]
    """or the names of classes whose folders are called otherwise"""
    option: str = "real.folder"
    """that names it, for errors"""

    def entries(self) -> Iterator[tuple[str, str]]:
        """Yield the files; names are paths relative to the folder. See `list_images`."""
        return list_images(self.folder, self._classes, self.option)

    @property
    def _classes(self) -> Classes:
        return self.classes if isinstance(self.classes, Classes) else Classes(names=self.classes)

    def load(self, name: str) -> Image.Image:
        """Return one image, turned as its EXIF says; OSError where it cannot be read."""
        return read_rgb(self.folder / name)
