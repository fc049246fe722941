"""The typed configuration: what a config file may say, checked before any job starts.

Light on purpose: the Snakefile imports it.
"""

from functools import cached_property
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import ValidationError, model_validator

from synthgap.config import casd
from synthgap.config.casd_checks import check_casd, check_edm
from synthgap.config.checks import check
from synthgap.config.companions import add, further_generators, further_trainings
from synthgap.config.explain import explain
from synthgap.config.fit import fit, found_images
from synthgap.config.generators import Generator
from synthgap.config.reading import read_yaml, require_bearable
from synthgap.config.scorers import Scorer
from synthgap.config.sections import SPLITS
from synthgap.config.sources import Sources
from synthgap.config.text_to_image import TrainedModel
from synthgap.config.training_checks import check_study
from synthgap.config.views import DepthView
from synthgap.config.written import Written
from synthgap.diffusion import DENOISER_MODULES
from synthgap.diffusion.edm import PIPELINE_MODULE
from synthgap.errors import UserError
from synthgap.hub import HubModel
from synthgap.scorers import modules_of as scorer_modules
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

AnyConfig = TypeVar("AnyConfig", bound=Written)

__all__ = ["SPLITS", "Config", "TrainedModel", "json_schema", "load", "parse"]


class Config(Sources):
    """A whole study."""

    @property
    def downloads_folder(self) -> str:
        """Folder of the models that come from a hub."""
        return self.downloads or f"{self.results}/models/hub"

    @cached_property
    def found_images(self) -> dict[str, dict[str, int]]:
        """Images by folder and class, where the config is fitted to them; else nothing."""
        return found_images(self) if self.fit_to_folder else {}

    def view_options(self, name: str) -> dict[str, Any]:
        """Return what shapes the images of a view, its defaults resolved."""
        return self.views[name].options(self.real.image_size)

    @cached_property
    def depth_views(self) -> dict[str, DepthView]:
        """The views that a depth model makes."""
        views = self.views.items()
        return {n: v for n, v in views if isinstance(v, DepthView) and v.needs_model}

    @property
    def shown_distribution(self) -> str | None:
        """The distribution that figure and main table show, if any has density and coverage."""
        found = [name for name, one in self.distributions.items() if "prdc" in one.metrics]
        chosen = self.studies.transfer and self.studies.transfer.distribution
        return chosen or next(iter(found), None)

    @property
    def scorers(self) -> dict[str, Scorer]:
        """What images are scored by."""
        return self.alignment.scorers if self.alignment else {}

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

    def image_set_options(self, name: str) -> dict[str, Any]:
        """Return what the commands of real images need to know of an image set."""
        return self.image_sets[name].options(self.real, self.synthetic.samples_per_class)

    def generator_options(self, name: str) -> dict[str, Any]:
        """Return what `generate_images` needs to know of a generator, defaults resolved."""
        options = self.resolved(name).model_dump(mode="json", include=CALL_OPTIONS)
        # One size and codec for all sources: a classifier would tell them apart by these.
        options["stored_size"] = self.real.image_size
        options["image_format"] = self.real.image_format
        if self.generators[name].told_classes:
            # Models that are trained here number classes as all of the workflow does.
            options["class_labels"] = self.generators[name].class_labels or "order"
        if (realism := self.generators[name].realism) is not None:
            options["realism"] = realism.scale
        if (search := self.generators[name].search) is not None:
            scorer = self.scorers[search.scorer]
            options["search"] = {
                "candidates": search.candidates,
                "scorer": scorer.options(),
                "roles": sorted(scorer.roles),
            }
        trained = self.generators[name].trained
        if trained is not None:
            text_encoder = self.trained_models[trained].text_encoder
            # The PixArt pipeline's defaults are for large images and web captions.
            options["arguments"] = {
                "max_sequence_length": self.text_encoders[text_encoder].max_tokens,
                "use_resolution_binning": False,
                "clean_caption": False,
                **options["arguments"],
            }
        return options

    def snapshots(self, trained: str) -> list[int]:
        """Return the steps after which a model in training is kept, besides its end."""
        used = [one for one in self.generators.values() if one.trained == trained]
        return sorted({one.step for one in used if one.step})

    def generation_modules(self, name: str) -> list[str]:
        """Return the modules that shape a generator's images and are found by their names."""
        generator = self.generators[name]
        found = ["synthgap.diffusion.realism"] if generator.realism else []
        if generator.search:
            scorer = self.scorers[generator.search.scorer]
            found += ["synthgap.generators.search", *scorer_modules(scorer.options())]
        if generator.trained is not None:
            found.append(DENOISER_MODULES[self.trained_models[generator.trained].denoiser.kind])
        if generator.edm is not None:
            found.append(PIPELINE_MODULE)
        return found

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_study(self)
        check_casd(self)
        # As good as written down: what follows knows no difference.
        written = dict(self.generators)
        add("generators", self.generators, further_generators(self.companions, written))
        further = further_trainings(self.companions, written, self.trained_models)
        add("trained_models", self.trained_models, further)
        self._write_out_casd()
        check_edm(self)
        check(self)
        return self

    def _write_out_casd(self) -> None:
        """Add the models of study `casd`, how they are sampled, and what of classes is compared."""
        study = self.studies.casd
        if study is None:
            return
        base, whole = self.edm_models[study.model], self.distributions[study.distribution]
        for name, one in casd.trained(study).items():
            self.edm_models[name] = one.model(base)
            self.generators[name] = one.generator(study.sampling)
        self.distributions.update(casd.subsets(study, whole, self.real.known_classes))


def parse(raw: dict[str, Any], where: str = "config") -> Config:
    """Return the checked configuration, fitted to its folder where it asks for that.

    Raises:
        UserError: one line for each key that is misspelt, missing or wrongly typed; or what the
            folder lacks.
    """
    require_bearable(raw, where)
    if raw.get("fit_to_folder") is True:
        # Whether its numbers fit each other is asked of those that it is run with.
        written = _checked(Written, raw, where)
        raw, where = fit(written, raw), f"{where}, fitted to {written.real.folder},"
    return _checked(Config, raw, where)


def _checked(kind: type[AnyConfig], raw: dict[str, Any], where: str) -> AnyConfig:
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        schema, problems = json_schema(), error.errors(include_url=False)
        lines = [explain(dict(problem), raw, schema) for problem in problems]
        raise UserError("\n".join([f"{where} is not valid:", *lines])) from None


def json_schema() -> dict[str, Any]:
    """Return the JSON schema, as kept in `workflow/schemas/config.schema.json` for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | Config.model_json_schema()


def load(path: Path) -> Config:
    """Read a YAML file (for notebooks and tests; the workflow gets its config from Snakemake).

    Raises:
        UserError: it cannot be read, or see `parse`.
    """
    return parse(read_yaml(path), str(path))
