"""Checks of a config that no section can make on its own. Each raises ValueError."""

from typing import TYPE_CHECKING, Any

from synthgap.config.comparisons import FILES
from synthgap.config.encoders import ClassifierEncoder
from synthgap.config.generators import Generator
from synthgap.config.metrics import CONVENTIONAL, LEAST_IMAGES, Distribution
from synthgap.config.sections import SPLITS
from synthgap.config.studies import LINEAR, Distinguish, Mixing, Probe
from synthgap.config.training_checks import check_trained
from synthgap.config.views import check_view
from synthgap.errors import suggest

if TYPE_CHECKING:
    from synthgap.config import Config


# Of the 255 bytes of a file's name, with room for what comes before and after.
LONGEST = 200


def check(config: "Config") -> None:
    """Raise ValueError for the first thing that does not fit another."""
    _check_references(config)
    _check_sizes(config)
    if config.studies.distinguish:
        _check_distinguish(config, config.studies.distinguish)
    _check_metrics(config)
    _check_captions(config)


def _check_references(config: "Config") -> None:
    """Check that every name points at something."""
    for name, generator in config.generators.items():
        if generator.trained is not None:
            _refer(f"generators.{name}.trained", generator.trained, config.trained_models)
        if generator.realism:
            _check_realism(config, name, generator)
        if generator.search:
            where = f"generators.{name}.search.scorer"
            _refer(where, generator.search.scorer, config.scorers)
        labels, classes = generator.class_labels, config.real.known_classes
        if isinstance(labels, list) and classes not in (None, len(labels)):
            raise ValueError(
                f"generators.{name}.class_labels: {len(labels)} numbers for {classes} classes"
            )
    for name, model in config.trained_models.items():
        where = f"trained_models.{name}"
        _refer(f"{where}.autoencoder", model.autoencoder, config.autoencoders)
        _refer(f"{where}.text_encoder", model.text_encoder, config.text_encoders)
    check_trained(config)
    uses: dict[str, Probe | Mixing] = {
        f"studies.transfer.probes.{name}": probe for name, probe in config.transfer_probes.items()
    }
    for name, mixing in config.mixings.items():
        uses[f"studies.{name}"] = mixing
        for source in mixing.sources or ():
            _refer(f"studies.{name}.sources", source, config.sources)
        _check_ratios(config, name, mixing)
    for where, use in uses.items():
        _refer(f"{where}.view", use.view, ["rgb", *config.views])
        for name in [use.classifier] if isinstance(use, Probe) else use.classifiers:
            _refer(f"{where}.classifier", name, config.classifiers)
    _check_labels(config)
    if config.studies.transfer and config.studies.transfer.scaling:
        for source in config.studies.transfer.scaling.sources or ():
            _refer("studies.transfer.scaling.sources", source, ["real", *config.sources])
    if not config.generators and not config.image_sets:
        raise ValueError("name generators in `generators`, image sets in `image_sets`, or both")
    for name in config.image_sets:
        if name == "real" or name in config.generated or name.startswith("cutmix-"):
            raise ValueError(f"image_sets.{name}: the name is taken; choose another")
    if "rgb" in config.views:
        raise ValueError("views.rgb: `rgb` is the images as they are; choose another name")


def _check_labels(config: "Config") -> None:
    """Check that few labels are asked for where they are studied, and that there are as many."""
    study = config.studies.semi_supervised
    for name in study.classifiers if study else ():
        if not config.classifiers[name].recipe.semi_supervised:
            raise ValueError(
                f"studies.semi_supervised.classifier: the recipe of {name} has no "
                "`semi_supervised`; add {method: freematch} to it, or choose another"
            )
    if not (counts := config.real.images_per_class):
        return
    for name, classifier in config.classifiers.items():
        if (classifier.recipe.labels_per_class or 0) > counts.train:
            raise ValueError(
                f"classifiers.{name}.recipe.labels_per_class: "
                f"{classifier.recipe.labels_per_class} is more than the {counts.train} images of "
                "each class in real.images_per_class.train"
            )


def _check_ratios(config: "Config", name: str, mixing: Mixing) -> None:
    """Refuse ratios for which there are too few synthetic images, where the config tells."""
    largest, made = max(mixing.replace + mixing.augment), config.synthetic.samples_per_class.train
    real = config.real.images_per_class
    if real and largest * real.train > made:
        raise ValueError(
            f"studies.{name}: a ratio of {largest:g} takes {largest * real.train:g} images of each "
            f"class, and synthetic.samples_per_class.train is {made}"
        )


def _check_realism(config: "Config", name: str, generator: Generator) -> None:
    """Check that the generated side is of the same model, without guidance."""
    assert generator.realism is not None
    where, of = f"generators.{name}.realism.of", generator.realism.of
    _refer(where, of, config.generators)
    other = config.generators[of]
    if other.realism:
        raise ValueError(f"{where}: {of} has realism guidance itself; name the one without")
    for key in ("trained", "preset", "model"):
        if getattr(generator, key) != getattr(other, key):
            raise ValueError(f"{where}: {of} is of another model ({key})")


def _check_metrics(config: "Config") -> None:
    """Check encoders and what they are used for."""
    for name, encoder in config.encoders.items():
        _refer(f"encoders.{name}.view", encoder.view, ["rgb", *config.views])
        if isinstance(encoder, ClassifierEncoder):
            _refer(f"encoders.{name}.classifier", encoder.classifier, config.classifiers)
    for name, distribution in config.distributions.items():
        _refer(f"distributions.{name}.encoder", distribution.encoder, config.encoders)
        for source in distribution.sources or ():
            _refer(f"distributions.{name}.sources", source, config.sources)
        _check_distribution(config, f"distributions.{name}", distribution)
    for name, benchmark in (
        config.compositional.benchmarks if config.compositional else {}
    ).items():
        for generator in benchmark.generators or ():
            _refer(f"compositional.{name}.generators", generator, config.generators)
    transfer = config.studies.transfer
    if transfer and (shown := transfer.distribution) is not None:
        _refer("studies.transfer.distribution", shown, config.distributions)
        if "prdc" not in config.distributions[shown].metrics:
            raise ValueError(
                f"studies.transfer.distribution: `{shown}` has no `prdc` among its metrics"
            )


def _check_distribution(config: "Config", where: str, distribution: Distribution) -> None:
    """Refuse what could not be measured once all images are made."""
    samples = distribution.samples
    made = config.synthetic.samples_per_class[distribution.split]
    if distribution.neighbours >= samples:
        raise ValueError(f"{where}: neighbours must be below samples")
    if "frechet" in distribution.metrics and samples < CONVENTIONAL and not distribution.few:
        raise ValueError(
            f"{where}: a Fréchet distance of fewer than {CONVENTIONAL} images is named after "
            "their number; add `few: true` to allow it, or raise samples"
        )
    if "vendi" in distribution.metrics and made < LEAST_IMAGES:
        raise ValueError(
            f"{where}: the Vendi score needs {LEAST_IMAGES} images a class, and "
            f"synthetic.samples_per_class.{distribution.split} is {made}"
        )
    if (classes := config.real.known_classes) and samples > classes * made:
        raise ValueError(
            f"{where}.samples: {samples} is more than the {classes * made} images of a source"
        )
    if classes and "vendi" in distribution.metrics and samples // classes < LEAST_IMAGES:
        raise ValueError(
            f"{where}: the Vendi score needs {LEAST_IMAGES} images a class; raise samples to "
            f"{LEAST_IMAGES * classes}"
        )


def _check_captions(config: "Config") -> None:
    if config.captioner.composites and not config.composites:
        raise ValueError("captioner.composites: there are none; name patterns in `composites`")


def _check_sizes(config: "Config") -> None:
    """Check that what is measured in pixels fits the images."""
    side = config.real.image_size
    for name, view in config.views.items():
        check_view(name, view, side)


def _check_distinguish(config: "Config", study: Distinguish) -> None:
    """Check that what study `distinguish` names is there, and that images are enough."""
    where = "studies.distinguish"
    known = ["real", *config.sources]
    axes, people = study.axes, study.people
    listed = {"comparisons": study.comparisons, "axes.comparisons": axes.comparisons}
    listed["people.quizzes"] = [quiz.sources for quiz in people.quizzes] if people else []
    for key, comparisons in listed.items():
        for source in {source for sources in comparisons or () for source in sources}:
            _refer(f"{where}.{key}", source, known)
    for source in study.controls:
        _refer(f"{where}.controls", source, known)
    for view in [study.view, *axes.views]:
        _refer(f"{where}.view" if view == study.view else f"{where}.axes.views", view,
               ["rgb", *config.views])  # fmt: skip
    for classifier in study.classifiers:
        _refer(f"{where}.classifiers", classifier, config.classifiers)
    for probe in study.probes:
        _refer(f"{where}.probes", probe, config.encoders)
        if (seen := config.encoders[probe].view) != study.view:
            raise ValueError(
                f"{where}.probes: `{probe}` encodes the view {seen}, and the study is of "
                f"{study.view}"
            )
    for name in config.classifiers:
        if name in FILES or name.startswith(LINEAR):
            raise ValueError(
                f"classifiers.{name}: {', '.join(FILES)} and names that begin with {LINEAR} are "
                "taken; choose another"
            )
    wanted, real = study.images_per_class, config.real.images_per_class
    for split in SPLITS if real and "real" in study.controls else ():
        assert real is not None
        if 2 * wanted[split] > real[split]:
            raise ValueError(
                f"{where}.images_per_class.{split}: {wanted[split]} twice, for the control, "
                f"is more than the {real[split]} of real.images_per_class"
            )
    synthetic = {s for c in config.comparisons.values() for s in c.sources} - {"real"}
    for split in SPLITS if synthetic else ():
        twice = 2 if synthetic & set(study.controls) else 1
        if twice * wanted[split] > (made := config.synthetic.samples_per_class[split]):
            why = " (twice, for the control)" if twice == 2 else ""
            raise ValueError(
                f"{where}.images_per_class.{split}: {wanted[split]}{why} is more than "
                f"the {made} of synthetic.samples_per_class"
            )

    for name in config.comparisons:
        if len(name) > LONGEST:
            raise ValueError(
                f"{where}.comparisons: {name} has {len(name)} letters, and folders are named after "
                f"comparisons, of {LONGEST} at most; give shorter names or compare fewer sources"
            )
    _check_shown(config, study)
    made = config.synthetic.samples_per_class.train
    if synthetic and axes.samples and max(axes.samples) > made:
        raise ValueError(
            f"{where}.axes.samples: {max(axes.samples)} is more than the {made} of "
            "synthetic.samples_per_class.train"
        )


def _check_shown(config: "Config", study: Distinguish) -> None:
    """Check that there is enough for maps and quizzes, which come after all else is trained."""
    where, classes = "studies.distinguish", config.real.known_classes
    if occlusion := study.occlusion:
        there = study.images_per_class.test * (classes or 0)
        if classes and occlusion.images > there:
            raise ValueError(
                f"{where}.occlusion.images: {occlusion.images} is more than the {there} test "
                "images of each distribution"
            )
        recipe = config.classifiers[study.classifiers[0]].recipe
        seen = recipe.input_size or config.real.image_size
        if occlusion.patch > seen:
            raise ValueError(
                f"{where}.occlusion.patch: {occlusion.patch} is more than the {seen} pixels of "
                f"what {study.classifiers[0]} sees"
            )
    for quiz in study.people.quizzes if study.people and classes else ():
        assert study.people
        assert classes
        wanted, real = study.people.pairs + quiz.references, config.real.images_per_class
        for source in quiz.sources:
            each = config.synthetic.samples_per_class if source != "real" else real
            if each and wanted > each.test * classes:
                raise ValueError(
                    f"{where}.people: {quiz.name} takes {wanted} images of {source} with its "
                    f"examples, and there are {each.test * classes} to test on"
                )


def _refer(key: str, value: str, known: Any) -> None:
    if value not in known:
        raise ValueError(f"{key}: no `{value}` in this config{suggest(value, known)}")
