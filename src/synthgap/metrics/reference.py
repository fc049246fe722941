"""What of the real images every comparison needs, computed once: radii, moments, kernel mean."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from synthgap.atomic import atomic_path
from synthgap.errors import UserError
from synthgap.metrics.distances import Distance, Floats, slices
from synthgap.metrics.frechet import moments
from synthgap.metrics.kernel_distance import mean_kernel
from synthgap.metrics.neighbours import squared_radii

Family = Literal["prdc", "frechet", "kernel", "vendi"]
FAMILIES: tuple[Family, ...] = get_args(Family)


@dataclass(frozen=True)
class Reference:
    """Statistics of one set of real features; None where they were not asked for."""

    values_digest: str
    k: int
    distance: Distance
    radii: Floats | None = None
    """(n,) of `squared_radii`"""
    mean: Floats | None = None
    covariance: Floats | None = None
    kernel: float | None = None
    """of `mean_kernel`"""

    @classmethod
    def of(
        cls,
        values: NDArray[Any],
        families: Collection[Family],
        *,
        k: int,
        distance: Distance,
        device: str = "cpu",
    ) -> Reference:
        """The statistics of (n, d) features that these families of metrics need.

        Raises:
            UserError: features that a family has no use for; see its own function.
        """
        radii = mean = covariance = kernel = None
        if "prdc" in families:
            radii = squared_radii(values, k=k, distance=distance, device=device)
        if "frechet" in families:
            whole, _ = moments(values)
            mean, covariance = whole.mean, whole.covariance
        if "kernel" in families:
            kernel = mean_kernel(values, device=device)
        return cls(values_digest(values), k, distance, radii, mean, covariance, kernel)

    def save(self, path: Path) -> None:
        """Write it atomically, as safetensors."""
        arrays = {"radii": self.radii, "mean": self.mean, "covariance": self.covariance}
        about = {"values": self.values_digest, "k": self.k, "distance": self.distance}
        about["kernel"] = None if self.kernel is None else self.kernel.hex()
        with atomic_path(path) as part:
            save_file(
                {name: array for name, array in arrays.items() if array is not None}
                or {"none": np.zeros(1)},
                part,
                {"synthgap": json.dumps(about, sort_keys=True)},
            )

    @property
    def families(self) -> set[str]:
        """Those whose statistics it holds."""
        parts = {"prdc": self.radii, "frechet": self.mean, "kernel": self.kernel}
        return {name for name, part in parts.items() if part is not None}

    @classmethod
    def load(
        cls,
        path: Path,
        values: NDArray[Any],
        families: Collection[Family],
        *,
        k: int,
        distance: Distance,
    ) -> Reference:
        """Read it, checking that it is of these features and, for `prdc`, of these settings.

        Raises:
            UserError: another file, or of other features, families, k or distance.
        """
        try:
            with safe_open(path, framework="numpy") as file:
                about = json.loads((file.metadata() or {})["synthgap"])
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            arrays.pop("none", None)
            kernel = None if about["kernel"] is None else float.fromhex(about["kernel"])
            found = cls(about["values"], about["k"], about["distance"], **arrays, kernel=kernel)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path}: not a file of measure_reference ({error!r})") from error
        anew = "make it anew with measure_reference"
        if found.values_digest != values_digest(values):
            raise UserError(f"{path} is of other real features; {anew}")
        if lacking := sorted(set(families) - {"vendi"} - found.families):
            raise UserError(f"{path} has nothing for {', '.join(lacking)}; {anew} --metrics")
        for name, value in (("k", k), ("distance", distance)) if "prdc" in families else ():
            if getattr(found, name) != value:
                raise UserError(f"{path} is of {name}={getattr(found, name)}; {anew}")
        return found


def values_digest(values: NDArray[Any]) -> str:
    """A digest of features: type, shape and every number."""
    digest = hashlib.sha256(f"{values.dtype.str}{values.shape}".encode())
    for rows in slices(len(values), 4096):
        digest.update(np.ascontiguousarray(values[rows]).tobytes())
    return digest.hexdigest()[:32]
