"""What each step of a training sees: real and synthetic images, their labels, noise.

All of it comes from the training's seed and the step's number, so that a resumed training repeats
what an undisturbed one does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from synthgap.data.decoded import Images
from synthgap.diffusion.edm.augmentation import LABELS, augment
from synthgap.diffusion.edm.preconditioning import Preconditioning
from synthgap.diffusion.epochs import Epochs
from synthgap.errors import UserError
from synthgap.seeds import derive_seed


@dataclass(frozen=True)
class Part:
    """The images of one source.

    Attributes:
        images: uint8 (n, side, side, 3).
        classes: (n,) class indices.
        source: its label: 0 for real images.
    """

    images: Images
    classes: NDArray[np.int64]
    source: int


class Batch(NamedTuple):
    """A batch on one device, b images."""

    clean: Tensor  # (b, 3, side, side) in -1..1, augmented
    noise: Tensor  # of the same shape, of deviation 1
    sigma: Tensor  # (b,)
    source: Tensor  # (b,) labels
    label: Tensor  # (b,) class indices
    augmented: Tensor  # (b, 9), see `augmentation`

    def each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """Return a batch of changed tensors."""
        return Batch._make(map(change, self))


class Batches:
    """Draws batches of `size` images from all parts together, each image once an epoch.

    So a batch holds real and synthetic images as they are in all: equation 5 of paper D.

    Args:
        augmentation: probability of each kind of change; 0: none, not even mirroring.

    Raises:
        UserError: there are no images, or they are not squares of one size.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        preconditioning: Preconditioning,
        *,
        size: int,
        augmentation: float,
        seed: int,
    ) -> None:
        self.parts, self.preconditioning = list(parts), preconditioning
        self.size, self.augmentation, self.seed = size, augmentation, seed
        self.first = np.cumsum([0, *(len(part.images) for part in parts)])
        sides = {tuple(part.images.shape[1:3]) for part in parts}
        if not self.first[-1]:
            raise UserError("there are no images to train on")
        if len(sides) > 1 or len(set(*sides)) > 1:
            raise UserError(f"images must be squares of one size; here are {sorted(sides)}")
        self.side = int(next(iter(sides))[0])
        self.epochs = Epochs(np.arange(self.first[-1]), seed)

    def __len__(self) -> int:
        """Images in all."""
        return int(self.first[-1])

    def batch(self, step: int) -> Batch:
        """Read a step's images, on the CPU."""
        rows = self.epochs.step(step, self.size)
        of = np.searchsorted(self.first, rows, side="right") - 1
        pixels = np.empty((self.size, self.side, self.side, 3), np.uint8)
        classes, sources = np.empty(self.size, np.int64), np.empty(self.size, np.int64)
        for number, part in enumerate(self.parts):
            here = of == number
            at = rows[here] - self.first[number]
            if at.size:
                pixels[here] = part.images[at]
                classes[here], sources[here] = part.classes[at], part.source
        rng = Generator().manual_seed(derive_seed(self.seed, "batch", step))
        clean = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
        told = torch.zeros(self.size, LABELS)
        if self.augmentation:
            clean, told = augment(clean, self.augmentation, rng)
        return Batch(
            clean.contiguous(),
            torch.randn(clean.shape, generator=rng),
            self.preconditioning.draw(self.size, rng),
            torch.from_numpy(sources),
            torch.from_numpy(classes),
            told,
        )
