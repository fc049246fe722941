"""A small made-up metrics table, shaped like a study's, for the tests of figures and report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from synthgap.metrics.table import Row

DEMO = [("flow-g1", 1.0), ("flow-g2", 2.0), ("flow-g4", 4.0)]


def made_up_rows(
    generators: Sequence[tuple[str, float]] = DEMO,
    x_name: str = "guidance scale",
    slope: float = -0.25,
) -> list[Row]:
    """Rows of every kind that figures and report read.

    Args:
        generators: names and x.
        slope: change of Synth->Real accuracy from the first generator to the last.
    """
    rng = np.random.default_rng(0)
    common: dict[str, Any] = {"architecture": "resnet-tiny", "view": "rgb", "seed": None}
    probes = {"rgb": ("rgb", 0.0), "structure": ("depth", -0.05), "texture": ("rgb", -0.3)}
    probes |= {"low": ("low-30", -0.04), "high": ("high-30", -0.25)}
    rows: list[Row] = []

    def add(value: float, n: int, half: float, **columns: Any) -> None:
        value = float(np.clip(value, 0, None))
        rows.append(
            Row(value=value, n=n, ci_low=max(0, value - half), ci_high=value + half, **columns)
        )

    def accuracy(value: float, train: str, test: str, study: str = "transfer", **rest: Any) -> None:
        columns = common | rest
        value = min(value, 0.99)
        add(
            value,
            450,
            0.02,
            study=study,
            metric="top1_accuracy",
            train_source=train,
            test_source=test,
            **columns,
        )

    def distribution(test: str, density: float, coverage: float, settings: dict[str, Any]) -> None:
        values = {"density": density, "coverage": coverage, "precision": 0.8, "recall": 0.6}
        for name, value in values.items():
            add(
                value,
                900,
                0.03,
                study="transfer",
                metric=f"{name}_k5_euclidean",
                train_source="real",
                test_source=test,
                view="rgb",
                encoder="resnet-tiny-real",
                settings=settings,
            )

    for probe, (view, shift) in probes.items():
        architecture = "bagnet-tiny" if probe == "texture" else "resnet-tiny"
        accuracy(
            0.95 + shift / 3,
            "real",
            "real",
            view=view,
            architecture=architecture,
            settings={"probe": probe},
        )
    accuracy(0.505, "real", "real", study="distinguish", settings={})
    distribution("real", 1.0, 0.95, {})

    for i, (generator, x) in enumerate(generators):
        for prompts, bonus in (("classname", 0.0), ("caption", 0.12)):
            name = f"{generator}-{prompts}"
            place = i / max(1, len(generators) - 1)
            base = 0.7 + bonus + slope * place + 0.03 * rng.standard_normal()
            settings = {"generator": generator, "prompts": prompts, "x": x, "x_name": x_name}
            for probe, (view, shift) in probes.items():
                accuracy(
                    base + shift + 0.01 * rng.standard_normal(),
                    name,
                    "real",
                    view=view,
                    architecture="bagnet-tiny" if probe == "texture" else "resnet-tiny",
                    settings=settings | {"probe": probe},
                )
            accuracy(
                0.85 + 0.1 * place + 0.02 * rng.standard_normal(),
                "real",
                name,
                settings=settings | {"probe": "rgb"},
            )
            accuracy(
                0.8 + 0.15 * place + 0.02 * rng.standard_normal(),
                "real",
                name,
                study="distinguish",
                settings=settings,
            )
            distribution(
                name,
                0.8 + 0.6 * place - 2 * bonus + 0.1 * rng.standard_normal(),
                min(0.95, 0.7 - 0.4 * place + 2 * bonus + 0.05 * rng.standard_normal()),
                settings,
            )
    return rows


def made_up_spectra(
    generators: Sequence[tuple[str, float]] = DEMO,
    x_name: str = "guidance scale",
    frequencies: int = 16,
) -> list[Row]:
    """Power spectra: real images fall by 6 dB an octave, and later sources the more from there."""
    rng = np.random.default_rng(1)
    rows: list[Row] = []

    def spectrum(test: str, excess: float, settings: dict[str, Any]) -> None:
        for k in range(1, frequencies + 1):
            place = np.log(k) / np.log(frequencies)
            db = -10 - 20 * np.log10(k) + excess * place**2 + 0.05 * rng.standard_normal()
            values = {"radial_power_db": (db, 0.2), "radial_power_db_sd": (4 + place, 0.15)}
            for metric, (value, half) in values.items():
                rows.append(
                    Row(
                        study="transfer",
                        metric=metric,
                        value=value,
                        n=900,
                        ci_low=value - half,
                        ci_high=value + half,
                        test_source=test,
                        view="rgb",
                        settings=settings | {"frequency": k, "window": "hann", "samples": 900},
                    )
                )

    spectrum("real", 0.0, {})
    for i, (generator, x) in enumerate(generators):
        for prompts, shift in (("classname", -1.0), ("caption", 1.0)):
            settings = {"generator": generator, "prompts": prompts, "x": x, "x_name": x_name}
            spectrum(f"{generator}-{prompts}", shift - 4 * i / len(generators), settings)
    return rows
