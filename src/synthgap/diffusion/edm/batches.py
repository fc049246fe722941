"""What each step of a training sees: real and synthetic images, their labels, noise.

All of it comes from the training's seed and the step's number, so that a resumed training repeats
what an undisturbed one does.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from synthgap.data.decoded import Images
from synthgap.diffusion.edm.augmentation import LABELS, draw
from synthgap.diffusion.edm.preconditioning import Preconditioning
from synthgap.diffusion.epochs import Epochs
from synthgap.errors import UserError
from synthgap.seeds import derive_seed


@dataclass(frozen=True)
class Labelled:
    """All images that a model learns from.

    Attributes:
        images: uint8 (n, side, side, 3).
        sources: (n,) labels of their sources: 0 for real images.
        classes: (n,) class indices.
    """

    images: Images
    sources: NDArray[np.int64]
    classes: NDArray[np.int64]


class Batch(NamedTuple):
    """A batch on one device, b images."""

    clean: Tensor  # (b, 3, side, side) in -1..1, yet to be augmented
    noise: Tensor  # of the same shape, of deviation 1
    sigma: Tensor  # (b,)
    source: Tensor  # (b,) labels
    label: Tensor  # (b,) class indices
    augmented: Tensor  # (b, 9), what is to be done to it, see `augmentation`

    def each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """Return a batch of changed tensors."""
        return Batch._make(map(change, self))


class Batches:
    """Draws batches of `size` images, each image once an epoch.

    So a batch holds real and synthetic images as they are in all: equation 5 of paper D.

    Args:
        augmentation: probability of each kind of change; 0: none, not even mirroring.

    Raises:
        UserError: the images are no squares.
    """

    def __init__(
        self,
        data: Labelled,
        preconditioning: Preconditioning,
        *,
        size: int,
        augmentation: float,
        seed: int,
    ) -> None:
        self.data, self.preconditioning = data, preconditioning
        self.size, self.augmentation, self.seed = size, augmentation, seed
        if data.images.shape[1] != data.images.shape[2]:
            raise UserError(f"images must be squares, not {data.images.shape[1:3]}")
        self.epochs = Epochs(np.arange(len(data.images)), seed)

    def batch(self, step: int) -> Batch:
        """Read a step's images, on the CPU."""
        rows = self.epochs.step(step, self.size)
        pixels = torch.from_numpy(np.array(self.data.images[rows]))
        rng = Generator().manual_seed(derive_seed(self.seed, "batch", step))
        clean = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
        told = torch.zeros(self.size, LABELS)
        if self.augmentation:
            told = draw(self.size, self.augmentation, rng)
        return Batch(
            clean.contiguous(),
            torch.randn(clean.shape, generator=rng),
            self.preconditioning.draw(self.size, rng),
            torch.from_numpy(self.data.sources[rows]),
            torch.from_numpy(self.data.classes[rows]),
            told,
        )
