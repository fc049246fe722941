"""The classifiers: an architecture and how it is trained."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from synthgap.classifiers.recipe import Recipe
from synthgap.config.hub_user import HubUser, Published
from synthgap.config.sections import Count, FolderName, Name, Section
from synthgap.errors import UserError
from synthgap.hub import is_folder
from synthgap.model_folder import require_architecture


class TimmArchitecture(Section):
    """A classifier of the timm library."""

    family: Literal["timm"]
    name: str
    options: dict[str, Any] = Field({}, description="arguments of the model's constructor")


class BagNetArchitecture(Section):
    """BagNet (Brendel and Bethge 2019), which sees only small patches."""

    family: Literal["bagnet"]
    receptive_field: Count = Field(description="side in pixels of what one position sees")
    options: dict[str, Any] = Field({}, description="layers, strides and width")


class Weights(HubUser):
    """Published weights that a network of timm starts from."""

    noun = "network of timm"
    needed_files = ("config.json", "model.safetensors")

    model: FolderName = Field(description="a hub id, such as timm/resnet50.tv_in1k, or a folder")
    revision: Name | None = Field(None, description="the hub's commit; pins what is downloaded")

    @model_validator(mode="after")
    def _usable(self) -> Self:
        self.check_model()
        return self

    @staticmethod
    def built_in() -> Mapping[str, Published]:
        """Return the built-in networks by name: none."""
        return {}

    def check_architecture(self, name: str) -> None:
        """Raise ValueError where the weights are, as far as is known, of another architecture."""
        if is_folder(self.model):
            try:
                require_architecture(Path(self.model), name)
            except UserError as error:
                raise ValueError(f"weights.model: {error}") from None
            return
        owner, _, model = self.model.partition("/")
        found, dot, _ = model.partition(".")
        # timm's own repositories are named after architecture and training.
        if owner == "timm" and dot and found != name.partition(".")[0]:
            raise ValueError(
                f"weights.model: {self.model} is a {found}, and the architecture is {name}; give "
                f"others, or set architecture.name to {found}"
            )


class Classifier(Section):
    """An architecture and the recipe it is trained with."""

    architecture: Annotated[TimmArchitecture | BagNetArchitecture, Field(discriminator="family")]
    weights: Weights | None = Field(None, description="to start from; random if left out")
    recipe: Recipe = Recipe()
    threads: Count = Field(1, description="CPU threads; a fixed number, as it moves last digits")

    @model_validator(mode="after")
    def _weights_fit(self) -> Self:
        if self.weights is None:
            return self
        if self.architecture.family != "timm":
            raise ValueError(
                f"weights: there are none for {self.architecture.family}; leave them out, or take "
                "an architecture of timm"
            )
        self.weights.check_architecture(self.architecture.name)
        return self
