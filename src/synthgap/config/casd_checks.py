"""Checks of EDM models and of study `casd`. Each raises ValueError."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from synthgap.config.casd import ARMS
from synthgap.errors import suggest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from synthgap.config import Config
    from synthgap.config.edm import EDMModel


def check_casd(config: Config) -> None:
    """Check that what study `casd` names is there, before its models are written out."""
    study = config.studies.casd
    if study is None:
        return
    where = "studies.casd"
    _refer(f"{where}.model", study.model, config.edm_models)
    _refer(f"{where}.distribution", study.distribution, config.distributions)
    chosen = config.distributions[study.distribution]
    if lacking := {"frechet", "prdc"} - set(chosen.metrics):
        raise ValueError(
            f"{where}.distribution: `{study.distribution}` has no `{min(lacking)}` among its "
            "metrics"
        )
    if chosen.classes is not None or chosen.split != "train":
        raise ValueError(
            f"{where}.distribution: `{study.distribution}` is not of all training images"
        )
    if study.classifier is not None:
        _refer(f"{where}.classifier", study.classifier, config.classifiers)
    for metric, threshold in study.memorised:
        measured = config.replication.metrics if config.replication else []
        if threshold is not None and metric not in measured:
            raise ValueError(
                f"{where}.memorised.{metric}: add {metric} to `replication.metrics`, which finds "
                "each image's nearest training image"
            )
    if study.model.startswith(tuple(f"{arm}-n" for arm in ARMS)):
        raise ValueError(f"{where}.model: names such as {study.model} are the study's own")


def check_edm(config: Config) -> None:
    """Check what EDM models are made of, and the generators that call them.

    After the study's models are written out: before, it is not known what sources there are.
    """
    for design_name, design in config.studies.casd.designs.items() if config.studies.casd else ():
        for source in design.sources:
            _refer(f"studies.casd.designs.{design_name}.sources", source, config.sources)
    for name, model in config.edm_models.items():
        where = f"edm_models.{name}"
        if name in config.trained_models:
            raise ValueError(f"{where}: the name is taken by one of `trained_models`")
        for part in model.synthetic:
            _refer(f"{where}.synthetic.source", part.source, config.sources)
            _check_classes(config, f"{where}.synthetic.classes", part.classes)
        _check_classes(config, f"{where}.classes", model.classes)
        _check_size(config, where, model)
        _check_enough(config, where, model)
        _check_order(config, where, name)
    for name, generator in config.generators.items():
        if generator.edm is None:
            continue
        _refer(f"generators.{name}.edm", generator.edm, config.edm_models)
        if (generator.image_size or config.real.image_size) != config.real.image_size:
            raise ValueError(
                f"generators.{name}.image_size: {generator.edm} makes images of "
                f"{config.real.image_size} pixels, as it was trained on"
            )
        if isinstance(generator.class_labels, list):
            raise ValueError(f"generators.{name}.class_labels: {generator.edm} has our own order")


def _check_classes(config: Config, where: str, classes: Sequence[int] | None) -> None:
    known = config.real.known_classes
    if classes and len(set(classes)) < len(classes):
        raise ValueError(f"{where}: a class comes twice")
    if classes and known is not None and max(classes) >= known:
        raise ValueError(f"{where}: there is no class {max(classes)}; the last is {known - 1}")


def _check_size(config: Config, where: str, model: EDMModel) -> None:
    side, levels = config.real.image_size, len(model.network.multipliers)
    if side % 2 ** (levels - 1):
        raise ValueError(
            f"{where}.network.multipliers: {levels} levels halve images of {side} pixels "
            f"{levels - 1} times, which leaves no whole number"
        )
    sides = [side // 2**level for level in range(levels)]
    for wanted in model.network.attention:
        if wanted not in sides:
            raise ValueError(
                f"{where}.network.attention: no level has a side of {wanted}; levels have "
                f"{', '.join(map(str, sides))}"
            )


def _check_enough(config: Config, where: str, model: EDMModel) -> None:
    """Refuse more images than there are, where the config tells."""
    real, known = config.real.images_per_class, config.real.known_classes
    if real and known and model.images:
        there = real.train * len(model.classes or range(known))
        if model.images > there:
            raise ValueError(f"{where}.images: {model.images} is more than the {there} there are")
    for part in model.synthetic if known else ():
        assert known is not None
        made = config.samples_of(part.source).train * len(part.classes or range(known))
        if part.images > made:
            raise ValueError(
                f"{where}.synthetic.images: {part.images} is more than the {made} made; "
                f"raise samples_per_class.train of {part.source}"
            )


def _check_order(config: Config, where: str, name: str) -> None:
    """Refuse a model that learns from its own images, over however many others."""
    seen, left = set[str](), [name]
    while left:
        at = left.pop()
        for part in config.edm_models[at].synthetic:
            generated = config.generated.get(part.source)
            edm = config.generators[generated[0]].edm if generated else None
            if edm == name:
                raise ValueError(f"{where}.synthetic: {name} would learn from its own images")
            if edm in config.edm_models and edm not in seen:
                seen.add(edm)
                left.append(edm)


def _refer(key: str, value: str, known: Any) -> None:
    if value not in known:
        raise ValueError(f"{key}: no `{value}` in this config{suggest(value, known)}")
