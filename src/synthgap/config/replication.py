"""How much a source's images repeat the training images of its generator (paper D)."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from synthgap.config.sections import Count, FolderName, Section
from synthgap.weights import WeightFile

# Published by PyTorch; the names hold the first digits of their SHA-256.
_URL = "https://download.pytorch.org/models/"
_FILES = {"alex": "alexnet-owt-7be5be79.pth", "vgg": "vgg16-397923af.pth"}
# What decides how it is computed, and not what of.
_NO_OPTIONS = {"weights", "threads"}


class Replication(Section):
    """The nearest training image of each generated image."""

    metrics: list[Literal["lpips", "ssim"]] = Field(
        ["lpips", "ssim"],
        min_length=1,
        description="distances by which a training image is the nearest",
    )
    network: Literal["alex", "vgg"] = Field("alex", description="backbone of LPIPS")
    weights: FolderName | None = Field(
        None, description="file of the backbone's weights; PyTorch's published one if left out"
    )
    samples: Count | None = Field(None, description="generated images; all if left out")
    training_samples: Count | None = Field(
        None,
        description="training images; all if left out. Numbers of different counts cannot be "
        "compared",
    )
    resize: Annotated[int, Field(ge=16)] | None = Field(
        None,
        description="side in pixels that LPIPS sees images at; as they are if left out. AlexNet "
        "takes 31 or more, VGG 16",
    )
    batch_size: Count = Field(
        64, description="images a forward pass; fixed, as it can move last digits"
    )
    threads: Count = Field(4, description="CPU threads; fixed, as it can move last digits")

    @model_validator(mode="after")
    def _large_enough(self) -> Self:
        if self.network == "alex" and self.resize is not None and self.resize < 31:
            raise ValueError(f"resize: AlexNet takes images of 31 px or more, not {self.resize}")
        return self

    @property
    def weight_file(self) -> WeightFile | None:
        """The file to download; None where there is no LPIPS or the weights are one's own."""
        if "lpips" not in self.metrics or self.weights is not None:
            return None
        name = _FILES[self.network]
        return WeightFile(name, _URL + name, name.removesuffix(".pth").rsplit("-", 1)[1])

    def options(self) -> dict[str, Any]:
        """Return what shapes the numbers, besides images and weights."""
        return self.model_dump(mode="json", exclude=_NO_OPTIONS)
