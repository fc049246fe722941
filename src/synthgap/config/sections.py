"""The sections of a config file: what each may say, and what it defaults to."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
# Paths go into shell commands and wildcards.
FolderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_./~+=@-]+$")]
Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
PromptKind = Literal["classname", "caption"]
Pattern = Literal["half", "quarter", "ninth", "sixteenth", "all"]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]


class Section(BaseModel):
    """A closed mapping: a key that is not a field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PerSplit(Section):
    """A number for each split."""

    train: Count
    val: Count
    test: Count

    def __getitem__(self, split: str) -> int:
        return int(getattr(self, split))


class Real(Section):
    """The real images, and how they become shards."""

    dataset: Literal["digits", "imagefolder"] = Field(
        description="`digits` ships with scikit-learn; `imagefolder` has one folder a class"
    )
    folder: str | None = Field(None, description="where the classes' folders are (imagefolder)")
    class_names: dict[str, str] = Field(
        {}, description="folder name to class name, where they differ (imagefolder)"
    )
    classes: Count | None = Field(
        None, description="number of classes, for `snakemake plan` before the images are there"
    )
    image_size: Annotated[int, Field(ge=8)] = Field(
        256, description="side in pixels; images are cropped to the central square and resized"
    )
    image_format: Literal["png", "webp", "jpeg"] = Field(
        "png", description="codec in the shards; png and webp are lossless"
    )
    val_fraction: Fraction = Field(0.1, description="share of each class for validation")
    test_fraction: Fraction = Field(0.1, description="share of each class for testing")
    shards: PerSplit = Field(PerSplit(train=1, val=1, test=1), description="shards a split")
    max_unreadable: Annotated[int, Field(ge=0)] = Field(
        0, description="images a split that may be unreadable before its jobs fail"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.dataset == "imagefolder") != (self.folder is not None):
            raise ValueError("`folder` is needed with `dataset: imagefolder`, and only there")
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError("val_fraction + test_fraction must leave images to train on")
        return self


class TrainedModel(Section):
    """A small text-to-image model that the workflow trains on the real training images."""

    autoencoder_channels: list[Count] = Field(
        [8, 16, 32, 48], description="channels a level; each level but the first halves the side"
    )
    latent_channels: Count = 8
    autoencoder_steps: Count = 300
    autoencoder_batch_size: Count = 32
    autoencoder_learning_rate: Annotated[float, Field(gt=0)] = 4e-3
    width: Annotated[int, Field(ge=32, multiple_of=32)] = Field(
        128, description="transformer width; heads are 32 wide"
    )
    layers: Count = Field(4, description="transformer blocks")
    text_width: Annotated[int, Field(ge=16, multiple_of=4)] = 64
    text_layers: Count = 2
    max_tokens: Annotated[int, Field(ge=2)] = Field(32, description="longest prompt, in tokens")
    steps: Count = Field(600, description="optimiser steps of the flow model")
    batch_size: Count = 64
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    ema_decay: Fraction = 0.995
    drop_text: Fraction = Field(0.1, description="share of prompts emptied, for guidance")
    seed: int = 0
    threads: Count = Field(1, description="CPU threads; a fixed number, as it moves last digits")


class Synthetic(Section):
    """Which synthetic images are made."""

    prompts: list[PromptKind] = Field(["classname", "caption"], min_length=1)
    samples_per_class: PerSplit
    shards: PerSplit = Field(PerSplit(train=1, val=1, test=1), description="shards a split")


class TimmArchitecture(Section):
    """A classifier of the timm library, without pretrained weights."""

    family: Literal["timm"]
    name: str
    options: dict[str, Any] = Field({}, description="arguments of the model's constructor")


class BagNetArchitecture(Section):
    """BagNet (Brendel and Bethge 2019), which sees only small patches."""

    family: Literal["bagnet"]
    receptive_field: Count = Field(description="side in pixels of what one position sees")
    options: dict[str, Any] = Field({}, description="layers, strides and width")


class Recipe(Section):
    """How a classifier is trained."""

    epochs: Count = 15
    batch_size: Count = 64
    optimizer: Literal["adam", "adamw"] = "adamw"
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    warmup_epochs: Annotated[int, Field(ge=0)] = 1
    schedule: Literal["cosine", "constant"] = Field("cosine", description="after warm-up")
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    gradient_clip: Annotated[float, Field(ge=0)] = Field(0.0, description="0 clips nothing")
    shift: Annotated[int, Field(ge=0)] = Field(3, description="largest random shift in pixels")
    flip: bool = Field(False, description="mirror half of the images")
    crop_min_area: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="random resized crop of at least this share of the area; 1 crops nothing"
    )
    cutmix: bool = Field(False, description="mix patches and labels within a batch")

    @model_validator(mode="after")
    def _warms_up_within(self) -> Self:
        if self.warmup_epochs > self.epochs:
            raise ValueError("warmup_epochs must not be above epochs")
        return self


class Classifier(Section):
    """An architecture and the recipe it is trained with."""

    architecture: Annotated[TimmArchitecture | BagNetArchitecture, Field(discriminator="family")]
    recipe: Recipe = Recipe()
    threads: Count = Field(1, description="CPU threads; a fixed number, as it moves last digits")


class Probe(Section):
    """A view and the classifier trained and tested in it."""

    view: Name = Field(description="`rgb` or one of `views`")
    classifier: Name = Field(description="one of `classifiers`")
    seeds: list[Seed] = Field([0], min_length=1, description="one training each")


class Transfer(Section):
    """Paper A: train on one side, test on the other."""

    probes: dict[Name, Probe] = Field(description="`rgb` is required: figures relate to it")
    spectrum_samples: Annotated[int, Field(ge=10)] = Field(
        500, description="images a source for the power spectrum"
    )
    distribution: Name | None = Field(
        None, description="one of `distributions`, for figure and table; the first if left out"
    )

    @model_validator(mode="after")
    def _has_rgb(self) -> Self:
        if "rgb" not in self.probes:
            raise ValueError("probe `rgb` is missing from `probes`")
        return self


class Distinguish(Section):
    """Paper C: can a classifier tell real from generated?"""

    view: Name = "rgb"
    classifier: Name
    seeds: list[Seed] = Field([0], min_length=1)
    images_per_class: PerSplit = Field(description="of each side; the same for every pair")


class Studies(Section):
    """What is asked."""

    transfer: Transfer
    distinguish: Distinguish
