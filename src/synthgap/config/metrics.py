"""What is measured of images besides training classifiers on them."""

from typing import Annotated, Literal

from pydantic import Field

from synthgap.config.scorers import Scorer
from synthgap.config.sections import Classes, Count, Name, Section, Split

# As `synthgap.metrics` has them; known here so that a dry run tells.
CONVENTIONAL, LEAST_IMAGES = 50_000, 20


class Distribution(Section):
    """How each source's images lie among real ones, in the features of one encoder."""

    encoder: Name = Field(description="one of `encoders`")
    samples: Annotated[int, Field(ge=20)] = Field(
        description="images of each side; metrics of different numbers cannot be compared"
    )
    metrics: list[Literal["prdc", "frechet", "kernel", "vendi"]] = Field(
        ["prdc"],
        min_length=1,
        description="`prdc`: precision, recall, density, coverage; `frechet`: FID and its like; "
        "`kernel`: KID and its like; `vendi`: diversity within classes",
    )
    neighbours: Count = Field(5, description="k of density, coverage, precision and recall")
    distance: Literal["euclidean", "cosine"] = Field("euclidean", description="of `prdc`")
    split: Literal["train", "test"] = Field(
        "train",
        description="of the generated images, and of the real ones that they are compared with. "
        "Paper B takes those of held-out captions: `test`",
    )
    classes: Classes | None = Field(
        None, description="numbers of the classes of the real images; all if left out"
    )
    sources: list[Name] | None = Field(
        None, description="that are measured, besides the control; all if left out"
    )
    few: bool = Field(
        False, description="allow a Fréchet distance of fewer than 50 000 images; named after them"
    )
    threads: Count = Field(4, description="CPU threads; fixed, as it can move last digits")

    def split_of(self, source: str) -> Split:
        """Return the split of a source that is compared: of `real`, the control, another one."""
        if source != "real":
            return self.split
        return "test" if self.split == "train" else "train"


class Alignment(Section):
    """How well generated images follow their prompts, and how people would like them."""

    scorers: dict[Name, Scorer] = Field(min_length=1, description="by a name of your choice")
    samples: Count | None = Field(None, description="images a source; all if left out")
    split: Literal["train", "test"] = Field("train", description="of the images")
