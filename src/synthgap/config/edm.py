"""Diffusion models in EDM's framework that the workflow trains, on real and synthetic images."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from synthgap.config.sections import Classes, Count, Name, Positive, Section, Seed, Share


class EDMNetwork(Section):
    """A DDPM++ U-Net; the defaults are for a laptop, paper D's are in config/studies/casd.yaml."""

    channels: Count = Field(16, description="of the first level, times its multiplier")
    multipliers: list[Count] = Field(
        [1, 2], min_length=1, description="channels a level; each level but the first halves"
    )
    blocks: Count = Field(1, description="residual blocks a level, one more on the way up")
    attention: list[Count] = Field([8], description="sides in pixels at which places see another")
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


class SyntheticImages(Section):
    """Some of a source's training images."""

    source: Name = Field(description="a generator's or an image set's")
    images: Count = Field(description="in all, as many of each class as can be")
    classes: Classes | None = Field(None, description="of these classes' numbers; all if left out")


class EDMModel(Section):
    """A diffusion model of pixels, told each image's source (CASD), its class, both or none."""

    network: EDMNetwork = EDMNetwork()
    images: Count | None = Field(
        None,
        description="real training images in all, as many of each class as can be, the fewer among "
        "the more; all if left out",
    )
    classes: Classes | None = Field(
        None, description="of the real ones, these classes' numbers; all if left out"
    )
    synthetic: list[SyntheticImages] = Field([], description="learnt from besides")
    source_label: bool = Field(
        False, description="tell it each image's source; it samples as told `real`"
    )
    class_label: bool = Field(False, description="tell it each image's class, and sample by it")
    kimg: Positive = Field(16.0, description="length of the training, in thousands of images seen")
    batch_size: Count = 32
    micro_batch: Count | None = Field(
        None, description="images that pass at once; all of a batch if left out"
    )
    learning_rate: Positive = 4e-3
    lr_rampup_kimg: Annotated[float, Field(ge=0)] = Field(
        1.0, description="over which the learning rate grows"
    )
    ema_halflife_kimg: Annotated[float, Field(ge=0)] = Field(
        1.0, description="after which an old weight counts half in the average that is kept"
    )
    ema_rampup_ratio: Positive = Field(
        0.05, description="half-lives are at most this share of what was seen"
    )
    augment: Share = Field(
        0.0, description="probability of each kind of change of an image, which the model is told"
    )
    sigma_data: Positive = Field(0.5, description="deviation of pixels, which lie in -1..1")
    log_mean: float = Field(-1.2, description="P_mean: of the noise levels' logarithms")
    log_deviation: Positive = Field(1.2, description="P_std, of the same")
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = Field(False, description="compile the network with torch.compile")
    seed: Seed = 0
    threads: Count = Field(1, description="CPU threads; a fixed number, as it moves last digits")

    @model_validator(mode="after")
    def _tells_apart(self) -> Self:
        if self.source_label and not self.synthetic:
            raise ValueError(
                "source_label: there are real images alone; name others in `synthetic`"
            )
        if self.class_label and self.classes is not None:
            raise ValueError("class_label: images of all classes are made; leave `classes` out")
        names = [part.source for part in self.synthetic]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"synthetic: {min(twice)} comes twice")
        return self

    def options(self) -> dict[str, Any]:
        """Return what `train_edm` needs to know, besides which images."""
        data = {"images", "classes", "synthetic", "threads"}
        return self.model_dump(mode="json", exclude=data) | {"sources": self.sources}

    @property
    def sources(self) -> int:
        """Source labels that it is told: of real images, and of each synthetic source."""
        return 1 + len(self.synthetic) if self.source_label else 0

    def choice(self) -> dict[str, Any]:
        """Return what `choose_images` needs to know."""
        return self.model_dump(mode="json", include={"images", "classes", "synthetic"})
