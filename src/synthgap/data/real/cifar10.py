"""CIFAR-10 (Krizhevsky 2009) as torchvision reads it."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

from synthgap.data.class_tables import Classes
from synthgap.errors import UserError

BATCHES = "cifar-10-batches-py"


@dataclass(frozen=True)
class Cifar10:
    """One of CIFAR-10's two parts: 50 000 training or 10 000 test images of 32 x 32 pixels.

    Args:
        folder: that `cifar-10-batches-py` lies in, or that folder itself; it is downloaded when
            the folder is missing.
    """

    folder: Path
    train: bool
    classes: Classes

    @cached_property
    def _images(self) -> Any:
        from torchvision.datasets import CIFAR10

        root = self.folder.parent if self.folder.name == BATCHES else self.folder
        try:
            if not self.folder.exists():
                self._download()
            # Its files are pickles; torchvision opens them after a check of their MD5 alone.
            return CIFAR10(root, train=self.train)
        except (OSError, RuntimeError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UserError(
                f"real.folder: no CIFAR-10 in {self.folder} ({reason}); it needs the folder "
                f"{BATCHES} of cifar-10-python.tar.gz from "
                "https://www.cs.toronto.edu/~kriz/cifar.html"
            ) from None

    def _download(self) -> None:
        """Download beside the folder first: half a download would pass for a damaged data set."""
        from torchvision.datasets import CIFAR10

        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".cifar10.", dir=self.folder.parent) as part:
            whole = Path(part, "whole")
            CIFAR10(whole, download=True)
            (whole / BATCHES if self.folder.name == BATCHES else whole).rename(self.folder)

    def entries(self) -> Iterator[tuple[str, str]]:
        """Yield the images by class in their order, named by part and position.

        Raises:
            UserError: the data set is not there and cannot be downloaded.
        """
        own = self._images.classes
        names = self.classes.of(own, f"real.folder: {self.folder}")
        part = "train" if self.train else "test"
        for label, name in names.items():
            for position, target in enumerate(self._images.targets):
                if own[target] == label:
                    yield f"{part}-{position:05d}", name

    def load(self, name: str) -> Image.Image:
        """Return one image."""
        image: Image.Image = self._images[int(name.rpartition("-")[2])][0]
        return image.convert("RGB")
