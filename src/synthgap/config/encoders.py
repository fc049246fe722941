"""Encoders: what a config may say of them, and the options that a job gets."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from synthgap.config.hub_user import HubUser, Published
from synthgap.config.sections import Count, FolderName, Name, Section, Seed
from synthgap.encoders import LAYERS
from synthgap.errors import UserError
from synthgap.hub import HubModel
from synthgap.weights import WeightFile

Family = Literal["clip", "dinov2", "inception", "timm", "mocov3"]
Crop = Annotated[float, Field(gt=0, le=1)] | Literal["squash"]
Interpolation = Literal["bilinear", "bicubic"]
Positions = Literal["transformers", "reference"]
Store = Literal["float32", "float16"]
Three = Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=3, max_length=3)]
Scales = Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=3, max_length=3)]
# What a built-in model says of how it is used, and an own section may say otherwise.
PREPARATION = ("image_size", "interpolation", "crop", "mean", "std", "positions")


class EncoderModel(Section):
    """A published encoder."""

    title: str
    family: Family
    model: str = Field(description="hub id, or the file's name where there is a `url`")
    url: str | None = None
    sha256: str = ""
    revision: str | None = Field(pattern=r"^[0-9a-f]{40}$")
    license: str
    download_gb: Annotated[float, Field(gt=0)]
    width: Count
    layer: str
    image_size: Count | None = None
    interpolation: Interpolation | None = None
    crop: Crop | None = None
    mean: Three | None = None
    std: Scales | None = None
    positions: Positions | None = None


@cache
def encoder_models() -> dict[str, EncoderModel]:
    """Return the built-in encoders by name."""
    import yaml

    raw = yaml.safe_load(Path(__file__).with_name("encoder_models.yaml").read_bytes())
    try:
        return {name: EncoderModel.model_validate(entry) for name, entry in raw.items()}
    except ValidationError as error:
        raise UserError(f"encoder_models.yaml: {error}") from None


class ClassifierEncoder(Section):
    """A classifier that the workflow trains on real images."""

    kind: Literal["classifier"]
    classifier: Name = Field(description="one of `classifiers`")
    view: Name = Field("rgb", description="what it is trained on and encodes")
    seed: Seed = Field(0, description="of its training")
    store: Store = Field("float32", description="how features are kept")

    @property
    def hub_model(self) -> HubModel | None:
        """What is downloaded: nothing."""
        return None

    @property
    def weight_file(self) -> WeightFile | None:
        """What is downloaded: nothing."""
        return None

    @property
    def label(self) -> str:
        """What the plan calls it."""
        return f"real-{self.view}-{self.classifier}-{self.seed}"

    def options(self) -> dict[str, Any]:
        """Return what shapes the features."""
        return {"family": "classifier", "name": self.label, "store": self.store}


class PretrainedEncoder(HubUser):
    """A published encoder, or one of the same family."""

    noun = "pretrained encoder"

    kind: Literal["pretrained"]
    model: FolderName = Field(description="a built-in encoder, a hub id, a folder or a file")
    family: Family | None = Field(None, description="needed where `model` is not built in")
    revision: Name | None = Field(None, description="the hub's commit; pins what is downloaded")
    view: Name = Field("rgb", description="what it encodes")
    layer: str | None = Field(None, description="the family's usual one if left out")
    image_size: Count | None = Field(None, description="side in pixels that the network sees")
    interpolation: Interpolation | None = Field(None, description="of the resize to that side")
    crop: Crop | None = Field(
        None, description="share of the shorter side that is kept, or `squash` to a square"
    )
    mean: Three | None = Field(None, description="of red, green and blue, on the scale 0 to 1")
    std: Scales | None = Field(None, description="the same")
    positions: Positions | None = Field(
        None, description="`reference` interpolates them as DINOv2's own code does (dinov2)"
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="of the computation; `auto` is float32"
    )
    batch_size: Count = Field(64, description="images a call; moves last digits")
    threads: Count = Field(4, description="CPU threads that read and decode")
    store: Store = Field("float32", description="how features are kept")

    @model_validator(mode="after")
    def _usable(self) -> Self:
        known = encoder_models().get(self.model)
        if known is None and self.family is None:
            self.check_model()
            raise ValueError(
                f"family: `{self.model}` is not built in, so say how it is loaded: "
                f"{', '.join(LAYERS)}"
            )
        if known and self.family not in (None, known.family):
            raise ValueError(f"family: {self.model} is of the family {known.family}")
        if self._family == "inception":
            self._check_inception(known)
        else:
            self.check_model()
        if self.layer is not None and self.layer not in LAYERS[self._family]:
            layers = ", ".join(LAYERS[self._family])
            raise ValueError(f"layer: {self._family} has no `{self.layer}`; known: {layers}")
        if self.positions and self._family != "dinov2":
            raise ValueError("`positions` is of the family dinov2")
        return self

    def _check_inception(self, known: EncoderModel | None) -> None:
        if known is None and not Path(self.model).is_file():
            raise ValueError(f"model: {self.model} is no file of Inception's weights")
        if self.revision:
            raise ValueError("`revision` is of a hub's model, and `model` is a file")
        if foreign := [name for name in PREPARATION if getattr(self, name) is not None]:
            raise ValueError(f"`{foreign[0]}`: Inception prepares images in its own way")
        if self.dtype not in ("auto", "float32"):
            raise ValueError("dtype: Inception computes in float32, as the reference of FID")

    @staticmethod
    def built_in() -> Mapping[str, Published]:
        """Return the built-in encoders by name."""
        return encoder_models()

    @property
    def _family(self) -> Family:
        known = encoder_models().get(self.model)
        family = known.family if known else self.family
        assert family is not None
        return family

    @property
    def _usual(self) -> EncoderModel:
        """The built-in encoder, or the first of the same family."""
        models = encoder_models()
        same = (model for model in models.values() if model.family == self._family)
        return models.get(self.model) or next(same)

    @property
    def hub_model(self) -> HubModel | None:
        """What is downloaded, where the model comes from a hub."""
        return None if self._family == "inception" else super().hub_model

    @property
    def weight_file(self) -> WeightFile | None:
        """What is downloaded, where the weights are a single file somewhere else."""
        known = encoder_models().get(self.model)
        if known is None or known.url is None:
            return None
        return WeightFile(known.model, known.url, known.sha256)

    @property
    def label(self) -> str:
        """What the plan calls it."""
        return self.model

    def options(self) -> dict[str, Any]:
        """Return what shapes the features, defaults resolved."""
        model, revision = self.origin
        told = {
            "family": self._family,
            "name": self.label,
            "model": model,
            "revision": revision,
            "layer": self.layer or self._usual.layer,
            "dtype": self.dtype,
            "batch_size": self.batch_size,
            "store": self.store,
        }
        for name in PREPARATION:
            own = getattr(self, name)
            if (value := getattr(self._usual, name) if own is None else own) is not None:
                told[name] = value
        return told


Encoder = Annotated[ClassifierEncoder | PretrainedEncoder, Field(discriminator="kind")]
