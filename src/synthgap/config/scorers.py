"""Scorers: what a config may say of them, and the options that a job gets."""

from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from synthgap.config.sections import Count, FolderName, Name, Section
from synthgap.errors import UserError, suggest
from synthgap.hub import HubModel, is_folder
from synthgap.scorers import ROLES
from synthgap.weights import WeightFile


class Repository(Section):
    """A model on the Hugging Face hub."""

    model: str = Field(description="hub id")
    revision: str | None = Field(None, pattern=r"^[0-9a-f]{40}$")

    def __str__(self) -> str:
        return f"{self.model}@{self.revision}" if self.revision else self.model


class PublishedFile(Section):
    """A single file of weights."""

    name: Name
    url: str = Field(pattern=r"^https://")
    sha256: str = Field(pattern=r"^([0-9a-f]{64})?$")

    def __str__(self) -> str:
        return f"{self.url}#{self.sha256}" if self.sha256 else self.url


class ScorerModel(Section):
    """A published scorer."""

    title: str
    kind: Name
    options: dict[str, str]
    metric: Name
    models: dict[Name, Repository | PublishedFile] = Field(min_length=1)
    license: str
    download_gb: Annotated[float, Field(gt=0)]
    remote_code: bool = False


@cache
def scorer_models() -> dict[str, ScorerModel]:
    """Return the built-in scorers by name."""
    import yaml

    raw = yaml.safe_load(Path(__file__).with_name("scorer_models.yaml").read_bytes())
    try:
        return {name: ScorerModel.model_validate(entry) for name, entry in raw.items()}
    except ValidationError as error:
        raise UserError(f"scorer_models.yaml: {error}") from None


class Scorer(Section):
    """One number an image: how well it follows its prompt, or how people would like it."""

    preset: Name = Field(description="a built-in scorer")
    model: FolderName | None = Field(
        None, description="other weights of the same kind: a hub id, a folder or a file"
    )
    revision: Name | None = Field(None, description="the hub's commit of `model`")
    parts: dict[Name, FolderName] = Field(
        {},
        description="folders or files of the scorer's other models by role, as downloaded before",
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="number type of the networks; half precision moves the third digit"
    )
    batch_size: Count = Field(64, description="images a call; recorded, as it moves last digits")
    threads: Count = Field(4, description="CPU threads")
    trust_remote_code: bool = Field(
        False, description="run Python code that comes with the weights (Jina CLIP)"
    )

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.preset not in scorer_models():
            raise ValueError(f"no scorer `{self.preset}`{suggest(self.preset, scorer_models())}")
        if self.known.remote_code != self.trust_remote_code:
            if self.trust_remote_code:
                raise ValueError(f"trust_remote_code: {self.known.title} brings no code")
            raise ValueError(
                f"{self.known.title} runs code that comes with its weights; read it, and set "
                "trust_remote_code: true if you trust it"
            )
        if self.revision and (self.model is None or is_folder(self.model)):
            raise ValueError("`revision` is of a hub's model; name that as `model`")
        for role, path in self.parts.items():
            if role not in self._roles() or role == self._roles()[0]:
                others = self._roles()[1:]
                raise ValueError(
                    f"parts: {self.preset} has no other model `{role}`"
                    f"{suggest(role, others)}; its main one is `model`"
                )
            self._check_local(f"parts.{role}", path, role)
        if self.model is not None:
            main = self._roles()[0]
            if is_folder(self.model) or Path(self.model).exists():
                self._check_local("model", self.model, main)
            elif isinstance(self.known.models[main], PublishedFile):
                raise ValueError(f"model: no such file: {self.model}")
            elif self.model.count("/") != 1:
                raise ValueError(
                    f"model: `{self.model}` is neither a hub id (owner/name) nor a folder (./name)"
                )
        return self

    def _roles(self) -> list[str]:
        return list(ROLES[self.known.kind])

    def _check_local(self, option: str, path: str, role: str) -> None:
        file = isinstance(self.known.models.get(role), PublishedFile)
        if not Path(path).exists():
            raise ValueError(f"{option}: no such file or folder: {path} (~ is not known)")
        if not file and not Path(path, "config.json").is_file():
            raise ValueError(f"{option}: {path} is no folder of a model: it has no config.json")

    @property
    def known(self) -> ScorerModel:
        """The built-in scorer."""
        return scorer_models()[self.preset]

    @property
    def label(self) -> str:
        """What the plan calls it."""
        return f"{self.preset} ({self.model})" if self.model else self.preset

    @property
    def local_models(self) -> dict[str, Path]:
        """Folders and files that are there already, by role."""
        found = {role: Path(path) for role, path in self.parts.items()}
        if self.model is not None and Path(self.model).exists():
            found[self._roles()[0]] = Path(self.model)
        return found

    @property
    def roles(self) -> set[str]:
        """The roles of all its models."""
        return {*self.local_models, *self.hub_models, *self.weight_files}

    @property
    def hub_models(self) -> dict[str, HubModel]:
        """What is downloaded as a folder, by role."""
        return {
            role: HubModel(
                origin.model,
                origin.revision,
                trust_remote_code=self.trust_remote_code,
                layout="model",
            )
            for role, origin in self._origins().items()
            if isinstance(origin, Repository)
        }

    @property
    def weight_files(self) -> dict[str, WeightFile]:
        """What is downloaded as a single file, by role."""
        return {
            role: WeightFile(origin.name, origin.url, origin.sha256)
            for role, origin in self._origins().items()
            if isinstance(origin, PublishedFile)
        }

    def options(self) -> dict[str, Any]:
        """Return what shapes the scores, for `synthgap.scorers.make_scorer`."""
        named = {role: str(origin) for role, origin in self._origins().items()}
        named |= {role: str(path) for role, path in self.local_models.items()}
        told: dict[str, Any] = {"kind": self.known.kind, **self.known.options}
        if self.trust_remote_code:
            told["trust_remote_code"] = True
        return told | {"dtype": self.dtype, "batch_size": self.batch_size, "models": named}

    def _origins(self) -> dict[str, Repository | PublishedFile]:
        """Return what comes from elsewhere, by role."""
        origins = dict(self.known.models)
        if self.model is not None:
            origins[self._roles()[0]] = Repository.model_construct(
                model=self.model, revision=self.revision
            )
        return {role: o for role, o in origins.items() if role not in self.local_models}
