"""Rows of a plan: diffusion models of real and synthetic images, and study D of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from synthgap.config import Config
from synthgap.config.edm import EDMModel
from synthgap.planning.rows import Row
from synthgap.planning.training import DEVICE, PEAK

if TYPE_CHECKING:
    from synthgap.planning.plan import Plan

# Of dense bfloat16, or the half of it that convolutions in float32 (TF32) have. Small convolutions
# with norms between them wait for memory more than transformers do.
REACHED = 0.15
EMBEDDING = 4  # as `diffusion.edm.network` has it, which needs torch


def edm_models(plan: Plan) -> Iterator[Row]:
    """Yield the rows of choosing images and of training on them."""
    used = {one.edm for one in plan.config.generators.values()}
    # Study D's `model` says how its arms are trained, and need not be trained itself.
    models = {name: model for name, model in plan.config.edm_models.items() if name in used}
    if models:
        yield plan.jobs("choose_images", "edm", len(models))
    for name, model in models.items():
        images = round(model.kimg * 1000)
        row = plan.jobs("train_edm", name, 1, images)
        if row.hours is None and model.precision == "bfloat16":
            operations = 3 * forward_operations(model, plan.config.real.image_size)
            speed = REACHED * PEAK / operations
            hours = images / speed / 3600
            row = plan.figured(row, _told(operations, PEAK), speed, hours, hours)
        yield row


def casd_rows(plan: Plan) -> Iterator[Row]:
    """Yield the rows of what study D measures besides what is measured of all sources."""
    study, models = plan.config.studies.casd, plan.config.casd_models
    if study is None:
        return
    if study.memorised.model_dump(exclude_none=True):
        yield plan.jobs("measure_memorised", "casd", 1 + len(models))
    if study.classifier is not None:
        sources = {one.source for one in models.values() if one.source}
        yield plan.jobs("count_classes", "casd", 1 + len(sources) + len(models))


def counting(config: Config) -> list[tuple[str, str, str, int]]:
    """Return the trainings on real images that study `casd` asks for."""
    study = config.studies.casd
    return [("real", "rgb", study.classifier, 0)] if study and study.classifier else []


def estimated_sampling(config: Config, generator: str) -> dict[str, Any] | None:
    """Return a figure for sampling from a model of `edm_models`, or None for others and on CPUs.

    Two evaluations a step but the last.
    """
    called = config.resolved(generator)
    if called.edm is None or called.steps is None:
        return None
    model = config.edm_models[called.edm]
    if model.precision != "bfloat16":
        return None
    forward = forward_operations(model, config.real.image_size)
    operations = forward * (2 * called.steps - 1)
    peak = PEAK / 2 if called.dtype == "float32" else PEAK
    return _told(operations, peak) | {"images_per_second": REACHED * peak / operations}


def forward_operations(model: EDMModel, side: int) -> float:
    """Return floating-point operations of one image in one evaluation of a DDPM++ network.

    Convolutions, attention and the embedding, two operations a multiplication and addition; norms
    are left out.
    """
    network = model.network
    first, wide = network.channels, EMBEDDING * network.channels
    levels = [
        (side // 2**level, first * multiple) for level, multiple in enumerate(network.multipliers)
    ]
    total, kept, last = 9 * 3 * first * side**2, [first], first

    def block(into: int, out: int, at: int, inner: int, attends: bool) -> int:
        """`at` is the side after scaling; the first convolution sees it, too."""
        places = at**2
        found = places * 9 * (into * out + out * out) + wide * out
        found += places * into * out if inner != at or into != out else 0
        if attends:
            found += places * 4 * out * out + 2 * places**2 * out
        return found

    for at, out in levels:
        if at != side:
            total += block(last, last, at, 2 * at, False)
            kept.append(last)
        for _ in range(network.blocks):
            total += block(last, out, at, at, at in network.attention)
            kept.append(out)
            last = out
    bottom = levels[-1][0]
    total += block(last, last, bottom, bottom, True) + block(last, last, bottom, bottom, False)
    for at, out in reversed(levels):
        if at != bottom:
            total += block(last, last, at, at // 2, False)
        for number in range(network.blocks + 1):
            seen = at in network.attention and number == network.blocks
            total += block(last + kept.pop(), out, at, at, seen)
            last = out
    total += 9 * last * 3 * side**2 + first * wide + wide**2
    return 2.0 * total


def _told(operations: float, peak: float) -> dict[str, Any]:
    source = f"{operations / 1e12:.3g} TFLOP an image at {REACHED:.0%} of {peak / 1e12:.0f} TFLOP/s"
    return {"device": DEVICE, "basis": "estimated", "source": source}
