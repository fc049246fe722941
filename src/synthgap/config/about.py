"""What the metrics table says of a study's numbers, besides the numbers: where they come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from synthgap.config import casd
from synthgap.config.comparisons import GUIDING

if TYPE_CHECKING:
    from synthgap.config import Config
    from synthgap.config.generators import Generator
    from synthgap.config.image_sets import ImageSet


def points(config: Config) -> list[dict[str, Any]]:
    """Return what of the axes `collect_metrics` needs to know."""
    used: dict[str, list[dict[str, Any]]] = {}
    if config.studies.transfer and (scaling := config.studies.transfer.scaling):
        probe = config.studies.transfer.probes[scaling.probe]
        told = {"settings": {"probe": scaling.probe}, "seeds": scaling.seeds or probe.seeds}
        used["scaling"] = [probe.model_dump() | told]
    for study, mixing in config.mixings.items():
        told = mixing.model_dump(include={"view", "seeds"})
        used[study] = [
            told | {"classifier": name, "settings": config.classifiers[name].recipe.about_labels}
            for name in mixing.classifiers
        ]
    return [
        one
        | {
            "study": point.study,
            "dataset": point.dataset,
            "source": point.source,
            "settings": one["settings"] | point.about,
        }
        for point in config.points
        for one in used[point.study]
    ]


def leaks(config: Config, comparison: str, view: str) -> dict[str, Any]:
    """Return what the metrics table says of the files of a comparison."""
    first, *others = config.comparisons[comparison].sources
    sides = {"train_source": first, "test_source": "+".join(others)}
    return {"study": "leaks", **sides, "view": view}


def people(config: Config, sources: list[str]) -> dict[str, Any]:
    """Return what the metrics table says of the answers to a quiz."""
    first, other = sources
    settings = {
        "comparison": "+".join(sources),
        "distributions": sources,
        "chance": 1 / len(sources),
        "control": False,
        "axis": "main",
        "order": 0,
    }
    sides = {"train_source": first, "test_source": other}
    named = {"view": "rgb", "architecture": "people", "settings": settings}
    return {"study": "distinguish", **sides, **named}


def realism(config: Config, guided: str, source: str) -> dict[str, Any]:
    """Return what the metrics table says of how a guiding classifier judges a source."""
    settings = {"judged_by": f"real+{config.guided[guided]}", "order": -1, "guides": guided}
    sides = {"train_source": "real", "test_source": source, "view": "rgb"}
    return {"study": "realism", "architecture": GUIDING, **sides, "settings": settings}


def trials(config: Config) -> list[dict[str, Any]]:
    """Return what of study `distinguish` `collect_metrics` needs to know."""
    options = views(config)
    places = {name: place for place, name in enumerate(dict.fromkeys(
        trial.classifier for trial in config.trials if trial.axis == "main"
    ))}  # fmt: skip
    return [
        {
            "dataset": trial.comparison.name,
            "view": trial.view,
            "classifier": trial.classifier,
            "seeds": list(trial.seeds),
            "axis": trial.axis,
            "order": places[trial.classifier],
            "sources": list(trial.comparison.sources),
            "view_options": options.get(trial.view, {}),
        }
        for trial in config.trials
    ]


def source(config: Config, source: str) -> dict[str, Any]:
    """Return what the metrics table says of a source; nothing of `real`.

    The x axis of the figures is the release date (as a decimal year) where every generator
    has one, and the guidance scale otherwise.
    """
    if source not in config.sources:
        return {}
    name, kind = config.sources[source]
    generators: dict[str, Generator | ImageSet] = {n: config.resolved(n) for n in config.generators}
    generators |= config.image_sets
    released = generators[name].released
    # A pipeline that reads no guidance follows its prompt as if the scale were 1.
    scale = generators[name].guidance_scale
    x, x_name = 1.0 if scale is None else scale, "guidance scale"
    if released and all(other.released for other in generators.values()):
        # The middle of the day, so that rounding does not move the date.
        day = released.timetuple().tm_yday - 0.5
        x, x_name = round(released.year + day / 366, 4), "release date"
    told = {"generator": name, "prompts": kind, "x": x, "x_name": x_name}
    if source in config.casd_models and config.studies.casd:
        told["casd"] = casd.about(config.studies.casd, config.casd_models[source])
    return told | (arm(config, name) if name in config.generators else {})


def arm(config: Config, generator: str) -> dict[str, Any]:
    """Return what the metrics table says of a model that study `text_to_image` compares.

    Empty where it does not. What a model has learnt from is known of those that are trained here.
    """
    study = config.studies.text_to_image
    companion = config.companions.get(generator)
    name = companion.of if companion else generator
    if study is None or name not in study.generators:
        return {}
    found: dict[str, Any] = {
        "arm": name,
        "arm_order": study.generators.index(name),
        "baseline": name in (study.baselines or study.generators[:1]),
        "training": companion.training if companion else 0,
        "on_curve": bool(companion and companion.step),
    }
    trained = config.generators[generator].trained
    if trained is None:
        return found
    model = config.trained_models[trained]
    return found | {
        "denoiser": model.denoiser.kind,
        "captions": "+".join(model.captions),
        "augmentation": model.augmentation,
        "training_step": config.generators[generator].step or model.steps,
        "training_steps": model.steps,
    }


def recogniser(config: Config) -> dict[str, Any]:
    """Return how study `text_to_image` finds out whether images show the class asked for."""
    study = config.studies.text_to_image
    if study is None or study.classifier is None:
        return {}
    sources = [name for name, (of, _) in config.generated.items() if arm(config, of)]
    return {"classifier": study.classifier, "seeds": study.seeds, "sources": sources}


def benchmark(config: Config, generator: str, benchmark: str) -> dict[str, Any]:
    """Return what the metrics table says of a generator's scores in a benchmark."""
    return {
        "study": "text-to-image",
        "test_source": f"{generator}-{benchmark}",
        "settings": {
            "generator": generator,
            "benchmark": benchmark,
            **arm(config, generator),
        },
    }


def images(config: Config, study: str, source: str) -> dict[str, Any]:
    """Return what the metrics table says of all numbers of a source's images themselves.

    What it says of the source comes later, as that may change with other generators.
    """
    return {"study": study, "test_source": source, "view": "rgb"}


def distribution(config: Config, name: str, source: str) -> dict[str, Any]:
    """Return what the metrics table says of all numbers of a distribution and a source."""
    encoder = config.distributions[name].encoder
    # Figures of study A know nothing of models before their end.
    of_study_b = config.studies.text_to_image and not config.studies.transfer
    alone = source != "real" and source not in config.compared_sources
    study = "text-to-image" if of_study_b or alone else "transfer"
    return {
        "study": "casd" if source in config.casd_models else study,
        "train_source": "real",
        "test_source": source,
        "view": config.encoders[encoder].view,
        "encoder": encoder,
        "settings": {"distribution": name, "split": config.distributions[name].split},
    }


def views(config: Config) -> dict[str, dict[str, Any]]:
    """Return the options of each view that move its numbers."""
    options = {name: config.view_options(name) for name in config.views}
    for view in options.values():
        # What moves no number, or its last digits at most; a lossy codec does.
        for name in ["batch_size", *(["codec"] if view["codec"] != "jpeg" else [])]:
            view.pop(name, None)
        for name in [name for name, value in view.items() if value is None]:
            del view[name]
    return options


def probes(config: Config) -> dict[str, Any]:
    """Return the probes of study `transfer`, each with the options of its view."""
    options = views(config)
    return {
        name: probe.model_dump(mode="json") | {"view_options": options.get(probe.view, {})}
        for name, probe in config.transfer_probes.items()
    }
