"""Views that keep local texture or a part of the image: shuffled tiles and crops."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from synthgap.errors import UserError
from synthgap.views.derived import Derived, Images, View


def shuffle_patches(images: Images, patch: int, seeds: Sequence[int]) -> Images:
    """Cut each image into tiles of patch x patch pixels and permute them at random.

    Texture inside a tile survives, the layout of the whole does not (compare the local texture
    classifier of paper A, section 3.1).

    Args:
        images: uint8 (N, H, W, C). When a side is no multiple of `patch`, the centre that is one is
            kept and the rest cropped, so the result has the sides H // patch * patch and
            W // patch * patch.
        seeds: one integer >= 0 for each image; an image's result depends on nothing but itself, its
            seed and `patch`. The permutation is uniform over all, the identity included.

    Raises:
        UserError: `patch` is larger than a side, or the seeds do not match the images.

    Examples:
        >>> image = np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1)
        >>> shuffle_patches(image, 2, seeds=[0])[0, :, :, 0]
        array([[ 8,  9,  0,  1],
               [12, 13,  4,  5],
               [ 2,  3, 10, 11],
               [ 6,  7, 14, 15]], dtype=uint8)
    """
    _check_seeds(images, seeds)
    _check_size(images, patch, "patch")
    rows, columns = images.shape[1] // patch, images.shape[2] // patch
    cropped = _center_box(images, rows * patch, columns * patch)

    count, channels = len(images), images.shape[3]
    grid = cropped.reshape(count, rows, patch, columns, patch, channels).swapaxes(2, 3)
    tiles = grid.reshape(count, rows * columns, patch, patch, channels)
    shuffled = np.empty_like(tiles)
    for index, seed in enumerate(seeds):
        shuffled[index] = tiles[index, np.random.default_rng(seed).permutation(rows * columns)]
    grid = shuffled.reshape(count, rows, columns, patch, patch, channels).swapaxes(2, 3)
    return grid.reshape(cropped.shape)


def center_crop(images: Images, size: int) -> Images:
    """Keep the central size x size pixels (paper C, section 6.1).

    Args:
        images: uint8 (N, H, W, C). Where the margin is odd, the smaller part lies above and left.

    Raises:
        UserError: `size` is larger than a side.

    Examples:
        >>> image = np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1)
        >>> center_crop(image, 2)[0, :, :, 0].tolist()
        [[5, 6], [9, 10]]
    """
    _check_size(images, size, "size")
    return _center_box(images, size, size).copy()


def random_crops(
    images: Images, size: int, count: int, seeds: Sequence[int]
) -> tuple[Images, npt.NDArray[np.int64]]:
    """Take `count` crops of size x size at uniform positions of each image (paper C, section 6.1).

    The first crops of an image do not depend on `count`. Crops may overlap.

    Args:
        images: uint8 (N, H, W, C).
        seeds: one integer >= 0 for each image.

    Returns:
        uint8 (N, count, size, size, C), and their top left pixels (N, count, 2).

    Raises:
        UserError: `size` is larger than a side, or the seeds do not match the images.

    Examples:
        >>> image = np.zeros((1, 8, 8, 3), np.uint8)
        >>> crops, corners = random_crops(image, 4, 2, seeds=[0])
        >>> crops.shape, corners.tolist()
        ((1, 2, 4, 4, 3), [[[4, 3], [2, 1]]])
    """
    _check_seeds(images, seeds)
    _check_size(images, size, "size")
    if count < 1:
        raise UserError(f"`count` must be at least 1 crop an image, not {count}")
    number, height, width, channels = images.shape
    crops = np.empty((number, count, size, size, channels), np.uint8)
    corners = np.empty((number, count, 2), np.int64)
    for index, seed in enumerate(seeds):
        limits = (height - size + 1, width - size + 1)
        corners[index] = np.random.default_rng(seed).integers(limits, size=(count, 2))
        for crop, (top, left) in enumerate(corners[index]):
            crops[index, crop] = images[index, top : top + size, left : left + size]
    return crops, corners


def make_view(spec: dict[str, Any]) -> View:
    """The views `patches`, `center_crop` and `random_crops`; see `synthgap.views.make_view`."""
    kind, size = spec["kind"], spec["size"]

    def view(images: Images, seeds: Sequence[int]) -> Derived:
        if kind == "patches":
            return Derived(shuffle_patches(images, size, seeds))
        if kind == "center_crop":
            return Derived(center_crop(images, size))
        crops, corners = random_crops(images, size, spec.get("count", 4), seeds)
        boxes = [(top, left, size, size) for top, left in corners.reshape(-1, 2).tolist()]
        return Derived(crops.reshape(-1, *crops.shape[2:]), boxes=boxes)

    return view


def _center_box(images: Images, height: int, width: int) -> Images:
    top = (images.shape[1] - height) // 2
    left = (images.shape[2] - width) // 2
    return images[:, top : top + height, left : left + width]


def _check_size(images: Images, size: int, name: str) -> None:
    if images.dtype != np.uint8 or images.ndim != 4:
        raise UserError(
            f"images must be uint8 (N, H, W, C), not {images.dtype} of shape {images.shape}"
        )
    height, width = images.shape[1:3]
    if not isinstance(size, int | np.integer) or not 1 <= size <= min(height, width):
        raise UserError(
            f"`{name}` must be from 1 to {min(height, width)} px for images of "
            f"{height} x {width} px, not {size!r}"
        )


def _check_seeds(images: Images, seeds: Sequence[int]) -> None:
    if len(seeds) != len(images):
        raise UserError(f"{len(images)} images need as many seeds, not {len(seeds)}")
    if any(seed < 0 for seed in seeds):
        raise UserError("seeds must be integers >= 0")
