"""Checks of trained models and of the study of them. Each raises ValueError."""

from typing import TYPE_CHECKING

from synthgap.config.text_to_image import TrainedModel
from synthgap.errors import suggest

if TYPE_CHECKING:
    from synthgap.config import Config


def check_study(config: "Config") -> None:
    """Check that what study `text_to_image` names is there."""
    study = config.studies.text_to_image
    if study is None:
        return
    where = "studies.text_to_image"
    for name in study.generators:
        if name not in config.generators:
            hint = suggest(name, config.generators)
            raise ValueError(f"{where}.generators: no `{name}` in this config{hint}")
    if study.classifier is not None and study.classifier not in config.classifiers:
        hint = suggest(study.classifier, config.classifiers)
        raise ValueError(f"{where}.classifier: no `{study.classifier}` in this config{hint}")
    if twice := {name for name in study.generators if study.generators.count(name) > 1}:
        raise ValueError(f"{where}.generators: {min(twice)} comes twice")
    measured = (config.distributions, config.alignment, config.compositional, config.replication)
    if not any(measured) and study.classifier is None:
        raise ValueError(
            f"{where}: nothing is measured of the images; set {where}.classifier, `distributions`, "
            "`alignment` or `compositional`"
        )
    trained = [name for name in study.generators if config.generators[name].trained]
    if study.trainings > 1 and not trained:
        raise ValueError(f"{where}.trainings: none of the generators is trained here")
    if study.curve and not (study.curve.generators or trained):
        raise ValueError(f"{where}.curve: none of the generators is trained here")
    for name in (study.curve.generators or []) if study.curve else []:
        if not config.generators[name].trained or config.generators[name].step:
            raise ValueError(
                f"{where}.curve.generators: {name} is no model that is trained here to its end"
            )


def check_trained(config: "Config") -> None:
    """Check what trained models are made of, and the generators that call them."""
    for name, model in config.trained_models.items():
        _check_composites(config, name, model)
        _check_start(config, name, model)
        shrinks = config.autoencoders[model.autoencoder].shrinks * model.denoiser.patch_size
        if config.real.image_size % shrinks:
            raise ValueError(
                f"trained_models.{name}: its autoencoder and patch_size need real.image_size to be "
                f"a multiple of {shrinks}"
            )
    for name, generator in config.generators.items():
        if generator.step is None or generator.trained is None:
            continue
        steps = config.trained_models[generator.trained].steps
        if generator.step >= steps:
            raise ValueError(
                f"generators.{name}.step: {generator.step} is not before the end of "
                f"{generator.trained}, after {steps} steps"
            )


def _check_composites(config: "Config", name: str, model: TrainedModel) -> None:
    if not model.composites:
        return
    where, pattern = f"trained_models.{name}.composites", model.composites.pattern
    if pattern not in config.composites:
        raise ValueError(f"{where}.pattern: add {pattern} to `composites`")
    if not config.captioner.composites:
        raise ValueError(
            f"{where}: they are learnt by their captions; set captioner.composites to true"
        )


def _check_start(config: "Config", name: str, model: TrainedModel) -> None:
    """Check that a model goes on from one of its own kind, which does not go on from it."""
    where, seen = f"trained_models.{name}.start", [name]
    if model.start is None:
        return
    if model.start not in config.trained_models:
        if "/" not in model.start:
            raise ValueError(
                f"{where}: {model.start} is none of `trained_models`"
                f"{suggest(model.start, config.trained_models)}; a pipeline folder has a `/`"
            )
        return
    other = config.trained_models[model.start]
    for key in ("autoencoder", "text_encoder", "denoiser"):
        if getattr(model, key) != getattr(other, key):
            raise ValueError(f"{where}: {model.start} has another {key}")
    at: str | None = model.start
    while at in config.trained_models:
        if at in seen:
            raise ValueError(f"{where}: {' goes on from '.join([*seen, at])}")
        seen.append(at)
        at = config.trained_models[at].start
