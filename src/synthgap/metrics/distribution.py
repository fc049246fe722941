"""How generated images lie among real ones, in the features of one encoder: all metrics of it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthgap.errors import UserError
from synthgap.metrics.distances import Distance, slices
from synthgap.metrics.frechet import Normal, measure_frechet, require_enough
from synthgap.metrics.intervals import bootstrap_mean
from synthgap.metrics.kernel_distance import measure_kernel_distance, require_pairs
from synthgap.metrics.measures import Measure
from synthgap.metrics.neighbours import PRDC, measure_prdc, prdc
from synthgap.metrics.reference import Family, Reference
from synthgap.metrics.vendi import about_class, measure_vendi, require_classes

log = logging.getLogger("synthgap")

# What Fréchet and kernel distance are called, of the features of an encoder's family.
NAMES = {"inception": ("fid", "kid"), "dinov2": ("fd_dinov2", "kd_dinov2")}


def measure_distribution(
    real: NDArray[Any],
    fake: NDArray[Any],
    families: Collection[Family],
    *,
    k: int = 5,
    distance: Distance = "euclidean",
    reference: Reference | None = None,
    neighbours: PRDC | None = None,
    real_classes: NDArray[np.integer[Any]] | None = None,
    fake_classes: NDArray[np.integer[Any]] | None = None,
    real_names: Mapping[int, str] | None = None,
    fake_names: Mapping[int, str] | None = None,
    encoder_family: str = "",
    few: bool = False,
    seed: int = 0,
    device: str = "cpu",
) -> list[Measure]:
    """All metrics of some families, with 95 % intervals.

    - `prdc`: density, coverage, precision, recall; coverage of each class where they are known.
    - `frechet`: Fréchet distance (FID of Inception's features).
    - `kernel`: kernel distance (KID), from all pairs.
    - `vendi`: Vendi score within classes, of the generated images alone.

    Args:
        real, fake: (n, d) and (m, d) features, in memory or mapped from a file.
        reference: of the real features, with the same k and distance; computed where None.
        neighbours: of `prdc` for both sides, with the same k and distance; computed where None.
        real_classes, fake_classes: class of each row, by its index.
        real_names, fake_names: of these indices; the indices themselves where None.
        encoder_family: what the numbers are named after, see `NAMES`.
        few: allow a Fréchet distance of fewer images than 50 000.

    Raises:
        UserError: no family, or features that a family has no use for; see its own function.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> real, fake = rng.normal(size=(100, 4)), rng.normal(size=(100, 4))
        >>> found = measure_distribution(real, fake, ["prdc", "frechet"], few=True)
        >>> [measure.metric for measure in found][:2], found[-1].metric
        (['density_k5_euclidean', 'coverage_k5_euclidean'], 'fd_n100')
    """
    frechet, kernel = NAMES.get(encoder_family, ("fd", "kd"))
    # What cannot be measured is refused before anything is.
    if not families:
        raise UserError("no metrics were asked for")
    if "frechet" in families:
        require_enough(frechet, len(real), len(fake), few)
    if "kernel" in families:
        require_pairs(kernel, len(real), len(fake))
    if "vendi" in families:
        if fake_classes is None:
            raise UserError("Vendi score: the generated features have no `class_index` column")
        require_classes(fake_classes, fake_names or {})
    reference = reference or Reference.of(real, families, k=k, distance=distance, device=device)
    found: list[Measure] = []
    if "prdc" in families:
        result = neighbours or prdc(
            real, fake, k=k, distance=distance, real_radii=reference.radii, device=device
        )
        found += measure_prdc(result, distance, seed=seed)
        if real_classes is not None:
            names = real_names or {}
            found += coverage_of_classes(result, distance, real_classes, names, seed=seed)
    if "frechet" in families:
        assert reference.mean is not None
        assert reference.covariance is not None
        normal = Normal(reference.mean, reference.covariance)
        found.append(measure_frechet(normal, len(real), fake, name=frechet, few=few, seed=seed))
    if "kernel" in families:
        found.append(
            measure_kernel_distance(
                real, fake, name=kernel, real_kernel=reference.kernel, seed=seed, device=device
            )
        )
    if "vendi" in families:
        assert fake_classes is not None
        found += measure_vendi(fake, fake_classes, fake_names or {}, seed=seed)
    return found


def coverage_of_classes(
    result: PRDC,
    distance: Distance,
    real_classes: NDArray[np.integer[Any]],
    class_names: Mapping[int, str],
    *,
    seed: int = 0,
) -> list[Measure]:
    """Coverage of each class's real images, by generated images of any class: which collapsed?"""
    found = []
    for index in np.unique(real_classes):
        covered = result.real_is_covered[real_classes == index]
        value, low, high = bootstrap_mean(covered, seed=seed)
        metric = f"coverage_of_class_k{result.k}_{distance}"
        settings = about_class(int(index), class_names)
        found.append(Measure(metric, value, len(covered), low, high, settings))
    return found


def count_repeated(real: NDArray[Any], fake: NDArray[Any]) -> int:
    """How many generated rows equal a real row in every number.

    Density and coverage are meaningless where the same images are on both sides: a real image's
    distance to itself is zero, and it covers itself.
    """
    known = {hash(row.tobytes()) for rows in slices(len(real), 4096) for row in real[rows]}
    return sum(hash(r.tobytes()) in known for rows in slices(len(fake), 4096) for r in fake[rows])
