"""The typed configuration: what a config file may say, checked before any job starts.

Light on purpose: the Snakefile imports it.
"""

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from synthgap.config import calls
from synthgap.config.blends import Blend, Point, points
from synthgap.config.captioners import AttributesCaptioner, Captioner
from synthgap.config.checks import check
from synthgap.config.classifiers import Classifier
from synthgap.config.companions import (
    Companion,
    add,
    companions,
    further_generators,
    further_trainings,
)
from synthgap.config.comparisons import Comparison, Trial, trials
from synthgap.config.compositional import Compositional
from synthgap.config.encoders import ClassifierEncoder, Encoder
from synthgap.config.explain import explain
from synthgap.config.generators import Generator
from synthgap.config.image_sets import ImageSet
from synthgap.config.metrics import Alignment, Distribution
from synthgap.config.real import Real
from synthgap.config.replication import Replication
from synthgap.config.scorers import Scorer
from synthgap.config.sections import (
    SPLITS,
    Count,
    FolderName,
    ModelName,
    Name,
    Pattern,
    PerSplit,
    Section,
    Split,
    Synthetic,
)
from synthgap.config.studies import MIXINGS, Mixing, Probe, Studies
from synthgap.config.text_to_image import (
    Autoencoder,
    TextEncoder,
    TrainedAutoencoder,
    TrainedModel,
    UntrainedTextEncoder,
)
from synthgap.config.training_checks import check_study
from synthgap.config.views import DepthView, View
from synthgap.errors import UserError
from synthgap.hub import HubModel
from synthgap.prompts import NEEDS_CAPTION
from synthgap.weights import WeightFile

IMAGES = "images"  # in the place of a kind of prompt

__all__ = ["SPLITS", "Config", "TrainedModel", "json_schema", "load", "parse"]


class Config(Section):
    """A whole study."""

    seed: int = Field(0, description="the study's seed: splits and samples derive theirs from it")
    results: FolderName = Field("results", description="folder of everything the workflow makes")
    checkpoint_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        30.0, description="time between two checkpoints of a training"
    )
    gpus: Count = Field(8, description="GPUs at hand, for the hours that `snakemake plan` tells")
    real: Real
    captioner: Captioner = AttributesCaptioner()
    downloads: FolderName | None = Field(
        None, description="folder of models from a hub; `models/hub` in `results` by default"
    )
    autoencoders: dict[Name, Autoencoder] = {"small": TrainedAutoencoder()}
    text_encoders: dict[Name, TextEncoder] = {"small": UntrainedTextEncoder()}
    trained_models: dict[ModelName, TrainedModel] = {}
    generators: dict[ModelName, Generator] = {}
    image_sets: dict[Name, ImageSet] = {}
    synthetic: Synthetic
    composites: list[Pattern] = []
    views: dict[Name, View] = {}
    classifiers: dict[Name, Classifier] = {}
    encoders: dict[Name, Encoder] = {}
    distributions: dict[Name, Distribution] = {}
    alignment: Alignment | None = None
    replication: Replication | None = None
    compositional: Compositional | None = None
    studies: Studies

    @property
    def downloads_folder(self) -> str:
        """Folder of the models that come from a hub."""
        return self.downloads or f"{self.results}/models/hub"

    @cached_property
    def generated(self) -> dict[str, tuple[str, str]]:
        """Synthetic sources that are made here: name to (generator, kind of prompt)."""
        usual = self.synthetic.prompts
        return {
            f"{name}-{kind}": (name, kind)
            for name, generator in self.generators.items()
            # A class's number says no more than its name.
            for kind in (
                generator.prompts or usual if generator.class_labels is None else ["classname"]
            )
        }

    @cached_property
    def sources(self) -> dict[str, tuple[str, str]]:
        """All synthetic sources: name to (generator or image set, kind of prompt or `images`)."""
        return self.generated | {name: (name, IMAGES) for name in self.image_sets}

    @cached_property
    def companions(self) -> dict[str, Companion]:
        """The generators that study `text_to_image` adds for itself."""
        return companions(self.studies.text_to_image, self.generators)

    @cached_property
    def compared_sources(self) -> list[str]:
        """The synthetic sources that all studies look at."""
        added = self.companions
        return [source for source, (name, _) in self.sources.items() if name not in added]

    @cached_property
    def points(self) -> list[Point]:
        """The places on axes of training data: fractions and mixtures to train on."""
        return points(self.studies, self.compared_sources)

    @cached_property
    def blends(self) -> dict[str, Blend]:
        """The data sets that are blended of parts of sources, by name."""
        return {point.dataset: point.blend for point in self.points if point.blend}

    def judged(self, comparison: str) -> dict[str, str]:
        """Return the sources that classifiers of a comparison are shown besides, and as which.

        Of `real` and a generator without realism guidance, those of the same with it.
        """
        one = self.comparisons[comparison]
        first, other, *more = one.sources
        if one.samples or first != "real" or more or other not in self.generated:
            return {}
        return {source: other for source in self.guided if self.guided[source] == other}

    @cached_property
    def guided(self) -> dict[str, str]:
        """Sources with realism guidance, and those without it that they are of."""
        return {
            source: f"{realism.of}-{kind}"
            for source, (name, kind) in self.generated.items()
            if (realism := self.generators[name].realism)
        }

    @property
    def transfer_probes(self) -> dict[str, Probe]:
        """The probes of study `transfer`, if it is asked for."""
        return self.studies.transfer.probes if self.studies.transfer else {}

    @property
    def mixings(self) -> dict[str, Mixing]:
        """The studies of real and synthetic images together that are asked for."""
        found = {name: getattr(self.studies, name) for name in MIXINGS}
        return {name: study for name, study in found.items() if study}

    @cached_property
    def trials(self) -> list[Trial]:
        """What study `distinguish` trains, if it is asked for."""
        study = self.studies.distinguish
        return trials(study, self.compared_sources) if study else []

    @cached_property
    def comparisons(self) -> dict[str, Comparison]:
        """The data sets of study `distinguish`, by name."""
        return {trial.comparison.name: trial.comparison for trial in self.trials}

    def view_options(self, name: str) -> dict[str, Any]:
        """Return what shapes the images of a view, its defaults resolved."""
        return self.views[name].options(self.real.image_size)

    @cached_property
    def depth_views(self) -> dict[str, DepthView]:
        """The views that a depth model makes."""
        views = self.views.items()
        return {n: v for n, v in views if isinstance(v, DepthView) and v.needs_model}

    @property
    def shown_sources(self) -> list[str]:
        """The sources whose test images the report shows in every view: few, as views cost."""
        kinds = (self.synthetic.prompts[0], IMAGES)
        found = [name for name in self.compared_sources if self.sources[name][1] in kinds]
        found = found or self.compared_sources
        return ["real", *dict.fromkeys([found[0], found[-1]])]

    @property
    def shown_distribution(self) -> str | None:
        """The distribution that figure and main table show, if any has density and coverage."""
        found = [name for name, one in self.distributions.items() if "prdc" in one.metrics]
        chosen = self.studies.transfer and self.studies.transfer.distribution
        return chosen or next(iter(found), None)

    @property
    def used_encoders(self) -> dict[str, Encoder]:
        """The encoders that a distribution is measured with, or a linear probe trained on."""
        used = {distribution.encoder for distribution in self.distributions.values()}
        used |= set(self.studies.distinguish.probes if self.studies.distinguish else ())
        return {name: encoder for name, encoder in self.encoders.items() if name in used}

    @cached_property
    def used_classifiers(self) -> dict[str, Classifier]:
        """The classifiers that a study or an encoder needs."""
        used = {probe.classifier for probe in self.transfer_probes.values()}
        used |= {trial.classifier for trial in self.trials}
        used |= {name for mixing in self.mixings.values() for name in mixing.classifiers}
        if self.studies.text_to_image and self.studies.text_to_image.classifier:
            used.add(self.studies.text_to_image.classifier)
        encoders = self.used_encoders.values()
        used |= {one.classifier for one in encoders if isinstance(one, ClassifierEncoder)}
        return {name: one for name, one in self.classifiers.items() if name in used}

    @property
    def scorers(self) -> dict[str, Scorer]:
        """What images are scored by."""
        return self.alignment.scorers if self.alignment else {}

    def sources_in(self, view: str) -> list[str]:
        """Return the sources that something is trained, tested or measured on in a view."""
        everything = ["real", *self.compared_sources]
        if view in {encoder.view for encoder in self.used_encoders.values()}:
            return ["real", *self.sources]
        if view in {probe.view for probe in self.transfer_probes.values()}:
            return everything
        used = {s for t in self.trials if t.view == view for s in t.comparison.sources}
        for mixing in self.mixings.values():
            if mixing.view == view:
                used |= {"real", *(mixing.sources or everything)}
        return [source for source in everything if source in used]

    def splits_of(self, source: str) -> list[Split]:
        """Return the splits of a source that something is trained, tested or measured on."""
        if source not in self.generated or source in {*self.guided, *self.guided.values()}:
            return list(SPLITS)
        alone = self.generated[source][0] in self.companions
        asked = self.studies
        if not alone and (asked.transfer or asked.distinguish or self.mixings):
            return list(SPLITS)
        used: set[Split] = {one.split for one in self.distributions.values()}
        used |= {self.alignment.split} if self.alignment else set()
        used |= {"train"} if self.replication and not alone else set()
        # Contact sheets, and the classifier that tells whether the class is there.
        return [split for split in SPLITS if split in used | {"test"}]

    def resolved(self, name: str) -> Generator:
        """Return a generator with all its settings, those of its preset included."""
        return self.generators[name].resolved(self.real.image_size)

    def hub_model(self, generator: str) -> HubModel | None:
        """Return what a generator downloads, if it does."""
        if not self.generators[generator].hub_model:
            return None
        whole = self.resolved(generator)
        assert whole.model is not None
        return HubModel(whole.model, whole.revision, whole.variant, whole.trust_remote_code)

    @cached_property
    def hub_models(self) -> dict[str, HubModel]:
        """All that is downloaded, by the name of its folder."""
        found = [self.hub_model(name) for name in self.generators]
        found += [view.hub_model for view in self.depth_views.values()]
        if self.captioned:
            found.append(self.captioner.hub_model)
        for model in self.trained_models.values():
            found.append(self.autoencoders[model.autoencoder].hub_model)
            found.append(self.text_encoders[model.text_encoder].hub_model)
        found += [encoder.hub_model for encoder in self.used_encoders.values()]
        found += [model for scorer in self.scorers.values() for model in scorer.hub_models.values()]
        starts = [one.weights for one in self.used_classifiers.values()]
        found += [weights.hub_model for weights in starts if weights]
        return {model.name: model for model in found if model}

    @cached_property
    def weight_files(self) -> dict[str, WeightFile]:
        """All weights that are single files to be downloaded, by file name."""
        found = [encoder.weight_file for encoder in self.used_encoders.values()]
        found += [file for scorer in self.scorers.values() for file in scorer.weight_files.values()]
        if self.replication:
            found.append(self.replication.weight_file)
        return {file.name: file for file in found if file}

    @cached_property
    def captioned(self) -> list[str]:
        """The sources whose images are captioned."""
        if not self._prompted_by_captions and not self.trained_models:
            return []
        composites = self.composites if self.captioner.composites else []
        return ["real", *(f"cutmix-{pattern}" for pattern in composites)]

    @property
    def _prompted_by_captions(self) -> bool:
        return any(kind in NEEDS_CAPTION for _, kind in self.generated.values())

    def caption_splits(self, source: str) -> list[Split]:
        """Return the splits of a source that are captioned: those that prompts are made of."""
        if source == "real" and self._prompted_by_captions:
            return list(SPLITS)
        return ["train"]

    def shards_of(self, source: str, view: str = "rgb") -> PerSplit:
        """Return the number of shards a split that a source has in a view."""
        if source not in self.sources:
            return self.real.shards
        usual = self.synthetic.shards
        name = self.sources[source][0]
        made = (self.image_sets.get(name) or self.generators[name]).shards or usual
        if view == "rgb" or made is usual:
            return made
        # A view takes a small part of the time that generation does: fewer jobs of it will do.
        return PerSplit(**{split: min(made[split], usual[split]) for split in SPLITS})

    def image_set_options(self, name: str) -> dict[str, Any]:
        """Return what the commands of real images need to know of an image set."""
        return self.image_sets[name].options(self.real, self.synthetic.samples_per_class)

    def generator_options(self, name: str) -> dict[str, Any]:
        """Return what `generate_images` needs to know of a generator, defaults resolved."""
        return calls.generator_options(self, name)

    def snapshots(self, trained: str) -> list[int]:
        """Return the steps after which a model in training is kept, besides its end."""
        used = [one for one in self.generators.values() if one.trained == trained]
        return sorted({one.step for one in used if one.step})

    def generation_modules(self, name: str) -> list[str]:
        """Return the modules that shape a generator's images and are found by their names."""
        return calls.generation_modules(self, name)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_study(self)
        # As good as written down: what follows knows no difference.
        written = dict(self.generators)
        add("generators", self.generators, further_generators(self.companions, written))
        further = further_trainings(self.companions, written, self.trained_models)
        add("trained_models", self.trained_models, further)
        check(self)
        return self


def parse(raw: dict[str, Any], where: str = "config") -> Config:
    """Return the checked configuration.

    Raises:
        UserError: one line for each key that is misspelt, missing or wrongly typed.
    """
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        schema, problems = json_schema(), error.errors(include_url=False)
        lines = [explain(dict(problem), raw, schema) for problem in problems]
        raise UserError("\n".join([f"{where} is not valid:", *lines])) from None


def json_schema() -> dict[str, Any]:
    """Return the JSON schema, as kept in `workflow/schemas/config.schema.json` for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | Config.model_json_schema()


def load(path: Path) -> Config:
    """Read a YAML file (for notebooks and tests; the workflow gets its config from Snakemake)."""
    import yaml

    raw = yaml.safe_load(Path(path).read_text())
    if not isinstance(raw, dict):
        raise UserError(f"{path}: a config is a mapping of keys, see config/README.md")
    return parse(raw, str(path))
