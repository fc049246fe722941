"""Rows of study `casd` whose every verdict is known."""

from typing import Any

from synthgap.metrics.table import Row

CLASSES = ["plane", "car", "bird"]


def told(arm: str, n: int, m: int = 0, source: str | None = None, **more: Any) -> dict[str, Any]:
    """What the table says of a model."""
    return {
        "arm": arm,
        "real_images": n,
        "synthetic_images": m,
        "synthetic_source": source,
        "classes": None,
        "synthetic_classes": None,
        "designs": {"sizes": 0},
        "training_seed": 0,
        "distribution": "inception",
    } | more


def rows_of(
    casd: dict[str, Any], frechet: float, half: float = 0.5, shares: list[float] | None = None
) -> list[Row]:
    """A model's rows: Fréchet distance with its interval, recall, copies, shares of classes."""
    name = f"{casd['arm']}-{casd['real_images']}-{casd['synthetic_source']}-{casd['training_seed']}"
    name += f"-{casd['synthetic_images']}-{casd['classes']}"
    source = {"generator": name, "prompts": "classname", "x": 1.0, "x_name": "guidance scale"}
    every = {"study": "casd", "test_source": name, "view": "rgb", "n": 400}
    settings = source | {"casd": casd}
    measured = settings | {"distribution": casd["distribution"]}
    found = [
        Row(
            metric="fid_n400", value=frechet, ci_low=frechet - half, ci_high=frechet + half,
            encoder="inception", settings=measured, **every,
        ),
        Row(
            metric="recall_k5_euclidean", value=0.4, ci_low=0.35, ci_high=0.45,
            encoder="inception", settings=measured, **every,
        ),
        # Of another distribution: not the study's.
        Row(
            metric="fid_n400", value=99.0, ci_low=98.0, ci_high=100.0, encoder="other",
            settings=settings | {"distribution": "other"}, **every,
        ),
        Row(
            metric="memorised_share_ssim", value=0.25, ci_low=0.2, ci_high=0.3,
            settings=settings | {"threshold": 0.9}, **every,
        ),
    ]  # fmt: skip
    for index, share in enumerate(shares or []):
        about = settings | {"class": CLASSES[index], "class_index": index}
        found.append(
            Row(metric="class_share", value=share, ci_low=share - 0.01, ci_high=share + 0.01,
                settings=about, **every)
        )  # fmt: skip
    if shares and casd["classes"] is not None:
        other = sum(share for i, share in enumerate(shares) if i not in casd["classes"])
        found.append(
            Row(metric="other_classes_share", value=other, ci_low=other - 0.01,
                ci_high=other + 0.01, settings=settings, **every)
        )  # fmt: skip
    return found


def study() -> list[Row]:
    """CASD is better with both sources, SDA worse with one; a design of two classes of three."""
    found = []
    for n, dm in ((100, 10.0), (400, 6.0)):
        found += rows_of(told("dm", n), dm)
        for source, sda in (("stylegan", dm + 3), ("edm", dm - 2)):
            found += rows_of(told("sda", n, 1000, source), sda)
            found += rows_of(told("casd", n, 1000, source), dm - 4)
    mismatch = {"designs": {"mismatch": 1}, "classes": [0, 1], "distribution": "inception-c0to1"}
    two = mismatch | {"synthetic_classes": [1, 2]}
    found += rows_of(told("dm", 100, **mismatch), 8.0, shares=[0.5, 0.48, 0.02])
    found += rows_of(told("sda", 100, 1000, "edm", **two), 9.5, shares=[0.1, 0.5, 0.4])
    found += rows_of(told("casd", 100, 1000, "edm", **two), 7.9, shares=[0.48, 0.5, 0.02])
    return found
