"""A small made-up metrics table, shaped like a study's, for the tests of figures and report."""

from __future__ import annotations

import dataclasses
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
    seen = {"view": "rgb", "architecture": "resnet-tiny"}
    accuracy(
        0.505, "real", "real", study="distinguish", **seen, settings=told_apart("real", "real")
    )
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
                **seen,
                settings=settings | told_apart("real", name),
            )
            distribution(
                name,
                0.8 + 0.6 * place - 2 * bonus + 0.1 * rng.standard_normal(),
                min(0.95, 0.7 - 0.4 * place + 2 * bonus + 0.05 * rng.standard_normal()),
                settings,
            )
    return rows


def told_apart(*sources: str, axis: str = "main", order: int = 0) -> dict[str, object]:
    """Settings of a row of the study `distinguish`."""
    return {
        "comparison": "+".join(sources),
        "distributions": list(sources),
        "chance": 1 / len(sources),
        "control": len(set(sources)) == 1,
        "axis": axis,
        "order": order,
        "train_images": 100 * len(sources),
    }


def made_up_comparisons(rows: Sequence[Row]) -> list[Row]:
    """Top-5 accuracy, gap to real and relative accuracy for every Synth->Real row."""
    found = []
    chosen = [r for r in rows if (r.study, r.test_source, r.seed) == ("transfer", "real", None)]
    real = {row.settings["probe"]: row for row in chosen if _is_accuracy(row, "real")}
    for row in chosen:
        if row.metric != "top1_accuracy":
            continue
        values = {"top5_accuracy": min(1.0, 1.1 * row.value)}
        if row.train_source != "real":
            of_real = real[row.settings["probe"]].value
            values |= {
                "gap_to_real": of_real - row.value,
                "accuracy_relative_to_real": row.value / of_real,
            }
        for metric, value in values.items():
            limits = {"ci_low": value - 0.025, "ci_high": value + 0.025}
            found.append(dataclasses.replace(row, metric=metric, value=value, **limits))
    return found


def made_up_architectures(rows: Sequence[Row], names: Sequence[str] = ("vit-ti",)) -> list[Row]:
    """Further RGB probes, a little worse than the first, with nearly its order."""
    rng = np.random.default_rng(2)
    found = []
    for name in names:
        for row in rows:
            if row.metric == "top1_accuracy" and row.settings.get("probe") == "rgb":
                if row.test_source != "real":
                    continue
                found.append(
                    _moved(
                        row,
                        row.value - 0.06 + 0.02 * rng.standard_normal(),
                        architecture=name,
                        settings={**row.settings, "probe": name.split("-")[0]},
                    )
                )
    return found


def made_up_shares(rows: Sequence[Row], images: int = 10000) -> list[Row]:
    """Rows of the studies `scaling` and `mixing`, for every source and for real images."""
    found = []
    for row in rows:
        if not (_is_accuracy(row) and row.settings["probe"] == "rgb"):
            continue
        real = next(r for r in rows if _is_accuracy(r, "real") and r.settings["probe"] == "rgb")
        for fraction in (0.1, 0.25, 0.5, 1.0):
            settings = {"fraction": fraction, "train_images": round(fraction * images)}
            value = row.value * (1 + 0.2 * np.log10(fraction))
            found.append(_moved(row, value, study="scaling", settings={**row.settings, **settings}))
        if row.train_source == "real":
            continue
        for ratio in (0.0, 0.25, 0.5, 0.75, 1.0):
            settings = {"mixing": "replace", "synthetic_ratio": ratio, "train_images": images}
            value = real.value + (row.value - real.value) * ratio**2
            found.append(_moved(row, value, study="mixing", settings={**row.settings, **settings}))
        for added in (0.0, 0.5, 1.0):
            settings = {"mixing": "augment", "synthetic_ratio": added}
            settings["train_images"] = round((1 + added) * images)
            value = real.value + 0.1 * added * (row.value - 0.7)
            found.append(_moved(row, value, study="mixing", settings={**row.settings, **settings}))
    return found


def made_up_scores(rows: Sequence[Row]) -> list[Row]:
    """Scores of every source, and GenEval of every generator: rising with x."""
    rng = np.random.default_rng(3)
    found = []
    sources = {
        row.train_source: row.settings
        for row in rows
        if _is_accuracy(row) and row.train_source != "real"
    }
    xs = sorted({settings["x"] for settings in sources.values()})
    for name, settings in sources.items():
        place = xs.index(settings["x"]) / max(1, len(xs) - 1)
        metrics = {"clipscore_hessel_vit_b32": (0.7, 0.1), "pickscore_v1": (19.0, 2.0)}
        metrics["class_probability"] = (0.6, 0.2)
        for metric, (start, rise) in metrics.items():
            value = start + rise * (place + 0.1 * rng.standard_normal())
            found.append(
                Row(
                    study="alignment",
                    metric=metric,
                    value=value,
                    n=900,
                    ci_low=value - 0.03 * rise,
                    ci_high=value + 0.03 * rise,
                    test_source=name,
                    settings={**settings, "scorer": {"kind": metric}, "prompts_cut": 0},
                )
            )
    for generator in {settings["generator"]: None for settings in sources.values()}:
        (x,) = {s["x"] for s in sources.values() if s["generator"] == generator}
        value = 0.4 + 0.4 * xs.index(x) / max(1, len(xs) - 1)
        found.append(
            Row(
                study="text-to-image",
                metric="geneval_overall",
                value=value,
                n=553,
                ci_low=value - 0.03,
                ci_high=value + 0.03,
                test_source=f"{generator}-geneval",
                settings={"generator": generator, "benchmark": "geneval"},
            )
        )
    return found


def _is_accuracy(row: Row, train: str | None = None) -> bool:
    """Is it a transfer study's accuracy on real images over all seeds, of this training source."""
    named = (row.study, row.metric, row.test_source, row.seed)
    return named == ("transfer", "top1_accuracy", "real", None) and train in (
        None,
        row.train_source,
    )


def _moved(row: Row, value: float, **columns: Any) -> Row:
    value = float(np.clip(value, 0.02, 0.98))
    limits = {"ci_low": value - 0.02, "ci_high": value + 0.02}
    return dataclasses.replace(row, value=value, **limits, **columns)


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
