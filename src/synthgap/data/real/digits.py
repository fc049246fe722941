"""Scikit-learn's digits."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image


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
