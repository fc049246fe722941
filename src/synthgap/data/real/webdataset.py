"""Images in WebDataset tars: KEY.jpg (or .jpeg, .png, .webp) with KEY.cls."""

import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from synthgap.data.class_tables import Classes
from synthgap.data.images import read_rgb
from synthgap.data.real.files import folder_of, matching, names_of
from synthgap.data.real.folders import IMAGE_SUFFIXES
from synthgap.errors import UserError, shown
from synthgap.progress import Progress

LARGEST_IMAGE = 1 << 30  # bytes
LONGEST_CLASS = 100  # bytes of a .cls file: a whole number


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
                    kind = f".{suffix.lower()}"
                    if kind not in IMAGE_SUFFIXES and suffix != "cls":
                        continue
                    known: Mapping[str, object] = labels if suffix == "cls" else images
                    what = "class" if suffix == "cls" else "image"
                    if key in known:
                        raise UserError(
                            f"{self.option}: {file}: {shown(key.lstrip('/'))} is there twice; a "
                            f"key needs one {what}"
                        )
                    if not member.isreg() or member.issparse():
                        raise UserError(
                            f"{self.option}: {file}: {shown(member.name)} is a link or another "
                            "thing that is no plain file; pack the files themselves"
                        )
                    if suffix != "cls":
                        images[key] = f"{file.name}:{member.offset_data}+{member.size}"
                    elif member.size > LONGEST_CLASS:
                        raise ValueError(f"{shown(member.name)} has {member.size} bytes")
                    elif opened := tar.extractfile(member):
                        labels[key] = int(opened.read())
        except UserError:
            raise
        # What tarfile raises of damaged headers is of many kinds, no memory for what they
        # promise and recursion among them.
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UserError(
                f"{self.option}: {file} is damaged or compressed, or no tar with .cls files of "
                f"whole numbers: {reason}"
            ) from error
        if without := [key for key in images if key not in labels]:
            name = shown(without[0].lstrip("/"))
            raise UserError(f"{self.option}: {file}: {name} has no .cls file")
        return [(labels[key], place) for key, place in images.items()]

    def load(self, name: str) -> Image.Image:
        """Return one image, turned as its EXIF says; OSError where it cannot be read."""
        file_name, _, place = name.rpartition(":")
        offset, _, length = place.partition("+")
        if not 0 <= int(length) <= LARGEST_IMAGE:
            raise OSError(f"{length} bytes, and an image has {LARGEST_IMAGE} at most")
        with (folder_of(self.pattern) / file_name).open("rb") as file:
            file.seek(int(offset))
            content = file.read(int(length))
        return read_rgb(content)
