"""Where a classifier looks: how much it loses when a square of the image is hidden.

Source: Zeiler and Fergus, Visualizing and Understanding Convolutional Networks (ECCV 2014),
section 4.2. They cover squares in grey and map the probability of the right class; here the colour
is the images' mean, and the loss is one of log-odds, which does not fade where the classifier is
all but certain.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp
from torch import nn

from synthgap.classifiers.evaluation import predict
from synthgap.data.classes import require_images
from synthgap.data.shards import Manifest
from synthgap.errors import UserError
from synthgap.seeds import derive_seed

# Images with a hidden square that are classified at once; they bound the memory.
BATCH = 128


def choose_rows(manifest: Manifest, each: int, seed: int) -> list[int]:
    """Return rows of `each` images of every class, class by class, drawn by `seed` and key.

    Raises:
        UserError: `each` is not positive, or a class has fewer images; names the first such class.
    """
    if each < 1:
        raise UserError(f"occlusion: {each} images of each class cannot be drawn")
    require_images(manifest, each)
    keys = manifest.table["key"].to_pylist()
    classes = manifest.class_indices
    by_class: list[list[int]] = [[] for _ in manifest.classes]
    for row in sorted(
        range(len(keys)), key=lambda row: (derive_seed(seed, "occlusion", keys[row]), keys[row])
    ):
        by_class[classes[row]].append(row)
    return [row for rows in by_class for row in rows[:each]]


def positions(side: int, patch: int, stride: int) -> NDArray[np.int64]:
    """Return where squares begin along a side of an image, in pixels.

    They are `stride` apart, from 0 on; where the last one would not end at the border, one more
    that does is added, so that each pixel is hidden at least once.

    Raises:
        UserError: the square is larger than the image, or the stride leaves pixels out.
    """
    if not 1 <= patch <= side:
        raise UserError(
            f"occlusion: squares of {patch} pixels on images of {side}; choose 1 to {side}"
        )
    if not 1 <= stride <= patch:
        raise UserError(
            f"occlusion: squares {stride} pixels apart and {patch} wide; a stride of 1 to {patch} "
            "leaves no pixel out"
        )
    starts = np.arange(0, side - patch + 1, stride, dtype=np.int64)
    return starts if starts[-1] == side - patch else np.append(starts, side - patch)


def mean_colour(images: NDArray[np.uint8]) -> tuple[int, int, int]:
    """Return the mean colour of images (n, h, w, 3), rounded to whole numbers 0..255."""
    red, green, blue = (round(float(value)) for value in images.mean(axis=(0, 1, 2)))
    return red, green, blue


def log_odds(logits: NDArray[np.float32], classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return log p - log(1 - p) of a class in nats, from logits and without ever forming p.

    It is the class's logit minus the log-sum-exp of the others, so it stays exact where p is 1.

    Args:
        logits: (n, at least two classes).
        classes: (n,) indices.
    """
    exact = logits.astype(np.float64)
    each = np.arange(len(exact))
    own = exact[each, classes]
    exact[each, classes] = -np.inf
    found: NDArray[np.float64] = own - logsumexp(exact, axis=1)
    return found


def occlude(
    model: nn.Module,
    images: NDArray[np.uint8],
    classes: NDArray[np.int64],
    *,
    patch: int,
    stride: int,
    colour: tuple[int, int, int],
    batch_size: int = BATCH,
    progress: Callable[[int], None] = lambda _: None,
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Hide a square at each position in turn, and see what that costs the right class.

    Args:
        model: takes normalised images, gives logits of two classes or more.
        images: uint8 (n, h, w, 3), n >= 1, in the size that the model sees.
        classes: (n,) what they show.
        patch, stride: see `positions`.
        colour: of the squares, RGB 0..255.
        batch_size: images that are classified at once.
        progress: told after each batch how many images with a square were classified.

    Returns:
        Maps (n, rows, columns), the drop of log-odds in nats when the square there is hidden; and
        the log-odds of the images as they are, (n,).

    Raises:
        UserError: bad `patch` or `stride`, see `positions`.
    """
    tops = positions(images.shape[1], patch, stride)
    lefts = positions(images.shape[2], patch, stride)
    squares = [(top, left) for top in tops for left in lefts]
    whole = log_odds(predict(model, images, batch_size), classes)
    total = len(images) * len(squares)
    hidden = np.empty(total)
    for start in range(0, total, batch_size):
        numbers = np.arange(start, min(start + batch_size, total))
        of_image = numbers // len(squares)
        covered = images[of_image]
        for one, number in zip(covered, numbers % len(squares), strict=True):
            top, left = squares[number]
            one[top : top + patch, left : left + patch] = colour
        hidden[numbers] = log_odds(predict(model, covered, batch_size), classes[of_image])
        progress(len(numbers))
    drops = whole[:, None] - hidden.reshape(len(images), -1)
    return drops.reshape(-1, len(tops), len(lefts)).astype(np.float32), whole
