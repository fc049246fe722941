"""What a view gives: the images, and what to record of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Derived:
    """The views of some images.

    Attributes:
        images: uint8 (N * copies, h, w, 3), or grey (N * copies, h, w) in uint8 or uint16; the
            copies of an image follow each other.
        how: the settings that a reader needs to know, for each sample's record.
        counts: numbers that add up over batches: `clipped_values`, `constant_maps`.
        boxes: (top, left, height, width) in the original of each view that is a random part of it.
    """

    images: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
    how: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    boxes: list[tuple[int, int, int, int]] | None = None


View = Callable[[Images, Sequence[int]], Derived]
"""Maps images, uint8 (N, H, W, 3), and as many seeds >= 0 to their views."""
