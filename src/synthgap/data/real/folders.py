"""Images in folders, one a class."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

from synthgap.data.class_tables import HELP, Classes
from synthgap.data.images import to_rgb
from synthgap.errors import UserError

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


@dataclass(frozen=True)
class ImageFolder:
    """A folder with one folder a class, in which JPEG, PNG and WebP files lie at any depth."""

    folder: Path
    classes: Classes | Mapping[str, str]
    """or the names of classes whose folders are called otherwise"""
    option: str = "real.folder"
    """that names it, for errors"""

    def entries(self) -> Iterator[tuple[str, str]]:
        """Yield the files sorted by class and path; names are paths relative to the folder.

        Classes come in the order of the class table, or of their folders' names without one.

        Raises:
            UserError: no such folder, no class in it, a class without images, or a class of the
                table or of `class_names` that has no folder.
        """
        hint = f"; {HELP}" if self._classes.are_synsets else ""
        if not self.folder.is_dir():
            raise UserError(
                f"{self.option}: no folder {self.folder}; it holds one folder a class{hint}"
            )
        folders = sorted(p for p in self.folder.iterdir() if p.is_dir() and p.name[0] != ".")
        if not folders:
            raise UserError(
                f"{self.option}: {self.folder} has no classes; it needs one folder a class with "
                f"JPEG, PNG or WebP files{hint}"
            )
        where = f"{self.option}: {self.folder}" if self._classes.table else str(self.folder)
        for label, class_name in self._classes.of((p.name for p in folders), where).items():
            class_folder = self.folder / label
            files = sorted(p for p in class_folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
            if not files:
                raise UserError(
                    f"{self.option}: class {class_folder} has no JPEG, PNG or WebP file"
                )
            for file in files:
                yield file.relative_to(self.folder).as_posix(), class_name

    @property
    def _classes(self) -> Classes:
        return self.classes if isinstance(self.classes, Classes) else Classes(names=self.classes)

    def load(self, name: str) -> Image.Image:
        """Return one image, turned as its EXIF says."""
        with Image.open(self.folder / name) as opened:
            opened.load()
            return to_rgb(ImageOps.exif_transpose(opened))
