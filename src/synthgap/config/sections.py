"""What all sections of a config file are made of, and some of the smaller ones."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
# `@` stands before a step, `~` before the number of a further training: `dit@50000`, `dit~1`.
ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@~-]*$")]
# Paths go into shell commands and wildcards.
FolderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_./~+=@-]+$")]
# One line, as it goes into the front matter and the text of a dataset card.
LicenceName = Annotated[str, Field(pattern=r"^[^\s`|*<>][^\r\n`|*<>]*$", max_length=200)]
Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
PromptKind = Literal["classname", "caption", "aio", "long"]
# What images may be asked for by besides descriptions of real ones.
AskedKind = PromptKind | Literal["faces"]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Pattern = Literal["half", "quarter", "ninth", "sixteenth", "all"]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]
Classes = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


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


class Synthetic(Section):
    """Which synthetic images are made."""

    prompts: list[AskedKind] = Field(
        ["classname", "caption"],
        min_length=1,
        description="what images are asked for by; `faces` are portraits of all kinds of people",
    )
    samples_per_class: PerSplit
    shards: PerSplit = Field(PerSplit(train=1, val=1, test=1), description="shards a split")
