"""In which order images are learnt from: each once an epoch, whatever step a training is at."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator

from synthgap.seeds import derive_seed


class Epochs:
    """Rows in a new order each epoch, which comes from the seed and the epoch's number."""

    def __init__(self, rows: NDArray[np.int64], seed: int) -> None:
        self.rows, self.seed = rows, seed
        self._last: tuple[int, NDArray[np.int64]] = (-1, rows)

    def step(self, step: int, size: int) -> NDArray[np.int64]:
        """Return the `size` rows of a step, from 0; a step may end one epoch and begin the next."""
        count = len(self.rows)
        numbers = np.arange(step * size, (step + 1) * size)
        found = np.empty(size, np.int64)
        for epoch in np.unique(numbers // count):
            here = numbers // count == epoch
            found[here] = self._order(int(epoch))[numbers[here] % count]
        return found

    def _order(self, epoch: int) -> NDArray[np.int64]:
        known, order = self._last  # at once, as several threads ask
        if known != epoch:
            rng = Generator().manual_seed(derive_seed(self.seed, "order", epoch))
            order = self.rows[torch.randperm(len(self.rows), generator=rng).numpy()]
            self._last = (epoch, order)
        return order
