"""Do generated images repeat training images? Each one's nearest, by LPIPS and by SSIM.

Paper D, section 4.4 and table 3, measures "memorization and replication" by LPIPS (higher is
better) and SSIM (lower is better) without saying of what with what. Here it is the mean over
generated images of the smallest LPIPS, and of the largest SSIM, to any training image. Less LPIPS
and more SSIM is more replication: copies of training images have 0 and 1. Both depend on the number
of training images, as the nearest of many is nearer; numbers of different sets cannot be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from synthgap.errors import UserError
from synthgap.metrics.intervals import bootstrap_mean
from synthgap.metrics.measures import Measure
from synthgap.metrics.nearest import nearest
from synthgap.metrics.perceptual import Perceptual
from synthgap.metrics.similarity import nearest_by_ssim

Metric = Literal["lpips", "ssim"]
METRICS: tuple[Metric, ...] = ("lpips", "ssim")
SSIM_VARIANT = "ssim_gaussian_rgb"

Images = NDArray[np.uint8]
# Images that are embedded at once, unless told otherwise.
BATCH_SIZE = 64


@dataclass(frozen=True)
class Nearest:
    """For each generated image the nearest training image by one metric."""

    variant: str
    """such as `lpips_alex`, `ssim_gaussian_rgb`"""
    index: NDArray[np.int64]
    """(m,) of the training image, the first of those equally near"""
    value: NDArray[np.float64]
    """(m,) LPIPS in 0..; or SSIM in -1..1"""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """what else shaped it"""


def measure_replication(
    found: Mapping[Metric, Nearest],
    training_images: int,
    settings: Mapping[str, Any] | None = None,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> list[Measure]:
    """Mean over generated images of the value of the nearest training image, with 95 % intervals.

    `lpips_nearest`: the smaller, the more the generated images replicate; 0 for copies.
    `ssim_nearest`: the larger, the more; 1 for copies.

    The interval is the percentile bootstrap over generated images, with the training images held
    fixed: it speaks of other images of the same generator.

    Args:
        found: of `nearest_images`, or pieced together from blocks of generated images.
        training_images: how many were searched; goes into the settings.
        settings: more of what shaped the numbers.
        resamples, seed: of the intervals.

    Raises:
        UserError: nothing found, or values that are not finite.
    """
    measures = []
    for metric in METRICS:
        if metric not in found:
            continue
        nearest_of = found[metric]
        value, low, high = bootstrap_mean(nearest_of.value, resamples=resamples, seed=seed)
        told = {"training_images": training_images, **(settings or {}), **nearest_of.settings}
        measures.append(
            Measure(
                f"{nearest_of.variant}_nearest",
                value,
                len(nearest_of.value),
                low,
                high,
                told,
                name=f"{metric}_nearest",
            )
        )
    if not measures:
        raise UserError(f"replication: nothing measured; choose from {', '.join(METRICS)}")
    return measures


def nearest_images(
    generated: Images,
    training: Images,
    perceptual: Perceptual | None = None,
    *,
    training_vectors: NDArray[np.float32] | None = None,
    batch_size: int = BATCH_SIZE,
    device: str = "cpu",
) -> dict[Metric, Nearest]:
    """Return each generated image's nearest training image, by SSIM and, where given, LPIPS.

    Holds the vectors of all images in memory for LPIPS, 130 KB an image of 64 px; give
    `training_vectors` from a file, and generated images in blocks, where that is too much.

    Args:
        generated: (m, height, width, 3) uint8.
        training: (n, height, width, 3) uint8.
        perceptual: embeds images; no LPIPS without.
        training_vectors: of `embed_all`, to save their time.
        batch_size: images embedded at once; can move LPIPS' last digits.

    Raises:
        UserError: images of different sizes, or too small, or none.
    """
    index, value = nearest_by_ssim(generated, training, device=device)
    found: dict[Metric, Nearest] = {"ssim": Nearest(SSIM_VARIANT, index, value)}
    if perceptual is not None:
        if training_vectors is None:
            training_vectors = embed_all(perceptual, training, batch_size)
        found["lpips"] = nearest_by_lpips(
            generated, training_vectors, perceptual, batch_size=batch_size
        )
    return found


def nearest_by_lpips(
    generated: Images,
    training_vectors: NDArray[np.float32],
    perceptual: Perceptual,
    *,
    batch_size: int = BATCH_SIZE,
) -> Nearest:
    """Return each generated image's nearest training image by LPIPS.

    Arguments and errors are those of `nearest_images`.
    """
    vectors = embed_all(perceptual, generated, batch_size)
    index, value = nearest(vectors, training_vectors, device=str(perceptual.device))
    return Nearest(perceptual.variant, index, value, perceptual.settings)


def embed_all(
    perceptual: Perceptual,
    images: Images,
    batch_size: int = BATCH_SIZE,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Return the vectors (n, d) of images, `batch_size` at a time, in `out` if it is given.

    Raises:
        UserError: a batch size below 1, or see `Perceptual.embed`.
    """
    if batch_size < 1:
        raise UserError(f"lpips: the batch size must be at least 1: {batch_size}")
    for start in range(0, len(images), batch_size):
        vectors = perceptual.embed(images[start : start + batch_size])
        if out is None:
            out = np.empty((len(images), vectors.shape[1]), np.float32)
        out[start : start + len(vectors)] = vectors
    if out is None:
        raise UserError("lpips: no images")
    return out
