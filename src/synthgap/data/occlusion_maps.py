"""Occlusion maps in a file: how much hiding each part of an image costs a classifier."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from synthgap.atomic import atomic_path
from synthgap.errors import UserError

_ARRAYS = ("maps", "log_odds", "class_indices", "tops", "lefts")


@dataclass(frozen=True)
class OcclusionMaps:
    """The maps of n images, and what they were made with."""

    maps: NDArray[np.float32]
    """(n, len(tops), len(lefts)): drop of the right class's log-odds, in nats, when the square
    there is hidden; positive where the image speaks for its class"""
    log_odds: NDArray[np.float64]
    """(n,) of the images as they are, of the right class, in nats"""
    class_indices: NDArray[np.int64]
    """(n,)"""
    tops: NDArray[np.int64]
    """first rows of the squares, in pixels from the top"""
    lefts: NDArray[np.int64]
    """first columns"""
    keys: list[str]
    """of the images, n"""
    classes: list[str]
    """names by class index"""
    patch: int
    """side of a square in pixels"""
    size: tuple[int, int]
    """height and width in pixels of what the classifier saw"""
    colour: tuple[int, int, int]
    """that squares were filled with, RGB 0..255"""
    seed: int
    """that the images were drawn by"""
    share: float = 1.0
    """of the images' sides that the classifier saw, the middle"""

    def by_pixel(self, maps: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Return (n, height, width): at each pixel the mean over the squares that hide it.

        Args:
            maps: (n, len(tops), len(lefts)), some of these, or means of them.
        """
        totals = np.zeros((len(maps), *self.size))
        counts = np.zeros(self.size)
        for y, top in enumerate(self.tops):
            for x, left in enumerate(self.lefts):
                square = (..., slice(top, top + self.patch), slice(left, left + self.patch))
                totals[square] += maps[:, y, x, None, None]
                counts[square] += 1
        return totals / counts

    def save(self, path: Path) -> None:
        """Write atomically; the same maps give the same bytes."""
        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in _ARRAYS}
        told = {k: v for k, v in vars(self).items() if k not in _ARRAYS}
        with atomic_path(path) as part:
            # One entry, because safetensors does not sort them.
            save_file(arrays, part, {"synthgap": json.dumps(told, sort_keys=True)})


def load_maps(path: Path) -> OcclusionMaps:
    """Return the maps that `OcclusionMaps.save` wrote.

    Raises:
        UserError: the file holds something else.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            told: dict[str, Any] = json.loads((file.metadata() or {})["synthgap"])
            arrays = {name: file.get_tensor(name) for name in _ARRAYS}
        told |= {name: tuple(told[name]) for name in ("size", "colour")}
        return OcclusionMaps(**arrays, **told)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} holds no maps of map_occlusion ({error!r})") from error
