"""The typed configuration: what a config file may say, checked before any job starts.

Light on purpose: the Snakefile imports it.
"""

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from synthgap.config.captioners import AttributesCaptioner, Captioner
from synthgap.config.compositional import Compositional
from synthgap.config.encoders import ClassifierEncoder, Encoder
from synthgap.config.explain import explain
from synthgap.config.generators import Generator
from synthgap.config.metrics import CONVENTIONAL, LEAST_IMAGES, Alignment, Distribution
from synthgap.config.replication import Replication
from synthgap.config.scorers import Scorer
from synthgap.config.sections import (
    SPLITS,
    Classifier,
    Count,
    Distinguish,
    FolderName,
    Name,
    Pattern,
    PerSplit,
    Probe,
    Real,
    Section,
    Studies,
    Synthetic,
    TrainedModel,
)
from synthgap.config.views import DepthView, View, check_view
from synthgap.errors import UserError, suggest
from synthgap.hub import HubModel
from synthgap.weights import WeightFile

# What of a generator shapes an image; the rest says where it comes from and when it is given up.
CALL_OPTIONS = {
    "model",
    "revision",
    "variant",
    "trust_remote_code",
    "dtype",
    "guidance_scale",
    "guidance_argument",
    "steps",
    "image_size",
    "scheduler",
    "arguments",
    "batch_size",
    "attempts",
    "compile",
    "channels_last",
    "vae_slicing",
    "offload",
}

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
    trained_models: dict[Name, TrainedModel] = {}
    generators: dict[Name, Generator] = Field(min_length=1)
    synthetic: Synthetic
    composites: list[Pattern] = []
    views: dict[Name, View] = {}
    classifiers: dict[Name, Classifier] = Field(min_length=1)
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
    def sources(self) -> dict[str, tuple[str, str]]:
        """Synthetic sources: name to (generator, kind of prompt)."""
        kinds = self.synthetic.prompts
        return {f"{name}-{kind}": (name, kind) for name in self.generators for kind in kinds}

    def about_source(self, source: str) -> dict[str, Any]:
        """Return what the metrics table says of a source; nothing of `real`.

        The x axis of the figures is the release date (as a decimal year) where every generator
        has one, and the guidance scale otherwise.
        """
        if source not in self.sources:
            return {}
        name, kind = self.sources[source]
        generators = {name: self.resolved(name) for name in self.generators}
        released = generators[name].released
        # A pipeline that reads no guidance follows its prompt as if the scale were 1.
        scale = generators[name].guidance_scale
        x, x_name = 1.0 if scale is None else scale, "guidance scale"
        if released and all(other.released for other in generators.values()):
            # The middle of the day, so that rounding does not move the date.
            day = released.timetuple().tm_yday - 0.5
            x, x_name = round(released.year + day / 366, 4), "release date"
        return {"generator": name, "prompts": kind, "x": x, "x_name": x_name}

    def about_images(self, study: str, source: str) -> dict[str, Any]:
        """Return what the metrics table says of all numbers of a source's images themselves.

        What it says of the source comes later, as that may change with other generators.
        """
        return {"study": study, "test_source": source, "view": "rgb"}

    def about_distribution(self, name: str, source: str) -> dict[str, Any]:
        """Return what the metrics table says of all numbers of a distribution and a source."""
        distribution = self.distributions[name]
        return {
            "study": "transfer",
            "train_source": "real",
            "test_source": source,
            "view": self.encoders[distribution.encoder].view,
            "encoder": distribution.encoder,
            "settings": {"distribution": name},
        }

    def about_probes(self) -> dict[str, Any]:
        """Return the probes of study `transfer`, each with the options of its view."""
        options = {name: self.view_options(name) for name in self.views}
        for view in options.values():
            # What moves no number, or its last digits at most; a lossy codec does.
            for name in ["batch_size", *(["codec"] if view["codec"] != "jpeg" else [])]:
                view.pop(name, None)
            for name in [name for name, value in view.items() if value is None]:
                del view[name]
        return {
            name: probe.model_dump(mode="json") | {"view_options": options.get(probe.view, {})}
            for name, probe in self.studies.transfer.probes.items()
        }

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
        generators = {next(iter(self.generators)), next(reversed(self.generators))}
        first = self.synthetic.prompts[0]
        found = self.sources.items()
        return ["real", *(s for s, (name, kind) in found if name in generators and kind == first)]

    @property
    def shown_distribution(self) -> str | None:
        """The distribution that figure and main table show, if any has density and coverage."""
        found = [name for name, one in self.distributions.items() if "prdc" in one.metrics]
        return self.studies.transfer.distribution or next(iter(found), None)

    @property
    def used_encoders(self) -> dict[str, Encoder]:
        """The encoders that a distribution is measured with."""
        used = {distribution.encoder for distribution in self.distributions.values()}
        return {name: encoder for name, encoder in self.encoders.items() if name in used}

    @property
    def scorers(self) -> dict[str, Scorer]:
        """What images are scored by."""
        return self.alignment.scorers if self.alignment else {}

    @property
    def used_views(self) -> set[str]:
        """The views that something is trained, tested or measured in."""
        probes = self.studies.transfer.probes.values()
        views = {probe.view for probe in probes} | {self.studies.distinguish.view}
        return views | {encoder.view for encoder in self.used_encoders.values()}

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
        found += [encoder.hub_model for encoder in self.used_encoders.values()]
        found += [model for scorer in self.scorers.values() for model in scorer.hub_models.values()]
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
        """The sources whose training images are captioned."""
        if "caption" not in self.synthetic.prompts and not self.trained_models:
            return []
        composites = self.composites if self.captioner.composites else []
        return ["real", *(f"cutmix-{pattern}" for pattern in composites)]

    def shards_of(self, source: str, view: str = "rgb") -> PerSplit:
        """Return the number of shards a split that a source has in a view."""
        if source not in self.sources:
            return self.real.shards
        usual = self.synthetic.shards
        made = self.generators[self.sources[source][0]].shards or usual
        if view == "rgb" or made is usual:
            return made
        # A view takes a small part of the time that generation does: fewer jobs of it will do.
        return PerSplit(**{split: min(made[split], usual[split]) for split in SPLITS})

    def generator_options(self, name: str) -> dict[str, Any]:
        """Return what `generate_images` needs to know of a generator, defaults resolved."""
        options = self.resolved(name).model_dump(mode="json", include=CALL_OPTIONS)
        # One size and codec for all sources: a classifier would tell them apart by these.
        options["stored_size"] = self.real.image_size
        options["image_format"] = self.real.image_format
        trained = self.generators[name].trained
        if trained is not None:
            # The PixArt pipeline's defaults are for large images and web captions.
            options["arguments"] = {
                "max_sequence_length": self.trained_models[trained].max_tokens,
                "use_resolution_binning": False,
                "clean_caption": False,
                **options["arguments"],
            }
        return options

    @model_validator(mode="after")
    def _references(self) -> Self:
        """Check that every name points at something."""
        for name, generator in self.generators.items():
            if generator.trained is not None:
                _refer(f"generators.{name}.trained", generator.trained, self.trained_models)
        uses: dict[str, Probe | Distinguish] = {"studies.distinguish": self.studies.distinguish}
        for name, probe in self.studies.transfer.probes.items():
            uses[f"studies.transfer.probes.{name}"] = probe
        for where, use in uses.items():
            _refer(f"{where}.view", use.view, ["rgb", *self.views])
            _refer(f"{where}.classifier", use.classifier, self.classifiers)
        self._check_sizes()
        if "rgb" in self.views:
            raise ValueError("views.rgb: `rgb` is the images as they are; choose another name")
        return self

    @model_validator(mode="after")
    def _metrics(self) -> Self:
        """Check encoders and what they are used for."""
        for name, encoder in self.encoders.items():
            _refer(f"encoders.{name}.view", encoder.view, ["rgb", *self.views])
            if isinstance(encoder, ClassifierEncoder):
                _refer(f"encoders.{name}.classifier", encoder.classifier, self.classifiers)
        for name, distribution in self.distributions.items():
            _refer(f"distributions.{name}.encoder", distribution.encoder, self.encoders)
            self._check_distribution(f"distributions.{name}", distribution)
        for name, benchmark in (
            self.compositional.benchmarks if self.compositional else {}
        ).items():
            for generator in benchmark.generators or ():
                _refer(f"compositional.{name}.generators", generator, self.generators)
        if (shown := self.studies.transfer.distribution) is not None:
            _refer("studies.transfer.distribution", shown, self.distributions)
            if "prdc" not in self.distributions[shown].metrics:
                raise ValueError(
                    f"studies.transfer.distribution: `{shown}` has no `prdc` among its metrics"
                )
        return self

    def _check_distribution(self, where: str, distribution: Distribution) -> None:
        """Refuse what could not be measured once all images are made."""
        samples, made = distribution.samples, self.synthetic.samples_per_class.train
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
                f"synthetic.samples_per_class has {made}"
            )
        if (classes := self.real.classes) and samples > classes * made:
            raise ValueError(
                f"{where}.samples: {samples} is more than the {classes * made} images of a source"
            )
        if classes and "vendi" in distribution.metrics and samples // classes < LEAST_IMAGES:
            raise ValueError(
                f"{where}: the Vendi score needs {LEAST_IMAGES} images a class; raise samples to "
                f"{LEAST_IMAGES * classes}"
            )

    @model_validator(mode="after")
    def _captions(self) -> Self:
        if self.captioner.composites and not self.composites:
            raise ValueError("captioner.composites: there are none; name patterns in `composites`")
        return self

    def _check_sizes(self) -> None:
        """Check that what is measured in pixels fits the images."""
        side = self.real.image_size
        for name, view in self.views.items():
            check_view(name, view, side)
        for name, model in self.trained_models.items():
            shrink = 2 ** (len(model.autoencoder_channels) - 1)
            if side % shrink:
                raise ValueError(
                    f"trained_models.{name}: {len(model.autoencoder_channels)} levels of "
                    f"autoencoder_channels need real.image_size to be a multiple of {shrink}"
                )
        wanted = self.studies.distinguish.images_per_class
        for split in SPLITS:
            if wanted[split] > (made := self.synthetic.samples_per_class[split]):
                raise ValueError(
                    f"studies.distinguish.images_per_class.{split}: {wanted[split]} is more than "
                    f"the {made} of synthetic.samples_per_class"
                )


def _refer(key: str, value: str, known: Any) -> None:
    if value not in known:
        raise ValueError(f"{key}: no `{value}` in this config{suggest(value, known)}")


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
