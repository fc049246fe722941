"""Images in WebDataset tars: KEY.jpg (or .jpeg, .png, .webp) with KEY.cls."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageOps

from synthgap.data.class_tables import Classes
from synthgap.data.images import to_rgb
from synthgap.data.real.files import folder_of, matching, names_of
from synthgap.data.real.folders import IMAGE_SUFFIXES
from synthgap.errors import UserError
from synthgap.progress import Progress


@dataclass(frozen=True)
class WebDatasetImages:
    """Tars as `timm/imagenet-1k-wds` has them: an integer in KEY.cls tells the class.

    With a class table of synsets, the integer is ImageNet-1k's label; otherwise the class's label
    in table and `class_names` is the integer itself.
    """

    pattern: str
    classes: Classes
    option: str = "real.folder"

    def entries(self) -> Iterator[tuple[str, str]]:
        """Yield the images by class, tar and place; names tell where they lie.

        Headers and .cls files are read, and no image. A name has no folder, so that the same tars
        are split alike wherever they lie.

        Raises:
            UserError: no tars, one that is damaged, an image without a class or a class that is
                no integer, or classes that are not there.
        """
        found: list[tuple[int, str]] = []
        files = matching(self.pattern, ".tar", self.option)
        with Progress(len(files), "tars listed") as progress:
            for file in files:
                found += self._listed(file)
                progress.update()
        if not found:
            raise UserError(f"{self.option}: no images with .cls files in {self.pattern}")
        names = names_of((label for label, _ in found), self.classes, f"{self.option}: {files[0]}")
        by_label: dict[int, list[str]] = {label: [] for label in names}
        for label, place in found:
            if label in by_label:
                by_label[label].append(place)
        for label, places in by_label.items():
            for place in places:
                yield place, names[label]

    def _listed(self, file: Path) -> list[tuple[int, str]]:
        images: dict[str, str] = {}
        labels: dict[str, int] = {}
        try:
            with tarfile.open(file, "r:") as tar:  # places in compressed ones are none
                for member in tar:
                    folder, _, name = member.name.rpartition("/")
                    if name.startswith("."):
                        continue  # macOS adds such files
                    stem, _, suffix = name.partition(".")
                    key = f"{folder}/{stem}"
                    if f".{suffix.lower()}" in IMAGE_SUFFIXES:
                        if key in images:
                            raise UserError(
                                f"{self.option}: {file}: {key.lstrip('/')} is there twice; a key "
                                "needs one image"
                            )
                        images[key] = f"{file.name}:{member.offset_data}+{member.size}"
                    elif suffix == "cls" and (opened := tar.extractfile(member)):
                        labels[key] = int(opened.read())
        except (tarfile.TarError, ValueError, OSError) as error:
            raise UserError(
                f"{self.option}: {file} is damaged or compressed, or no tar with .cls files of "
                f"whole numbers: {error}"
            ) from error
        if without := [key for key in images if key not in labels]:
            raise UserError(f"{self.option}: {file}: {without[0].lstrip('/')} has no .cls file")
        return [(labels[key], place) for key, place in images.items()]

    def load(self, name: str) -> Image.Image:
        """Return one image, turned as its EXIF says."""
        file_name, _, place = name.rpartition(":")
        offset, _, length = place.partition("+")
        with (folder_of(self.pattern) / file_name).open("rb") as file:
            file.seek(int(offset))
            content = file.read(int(length))
        with Image.open(BytesIO(content)) as opened:
            opened.load()
            return to_rgb(ImageOps.exif_transpose(opened))
