"""What all sections of a config file are made of, and some of the smaller ones."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
# Paths go into shell commands and wildcards.
FolderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_./~+=@-]+$")]
Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
PromptKind = Literal["classname", "caption", "aio", "long"]
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
