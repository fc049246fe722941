"""The studies: what is asked."""

from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from synthgap.config.casd import Casd
from synthgap.config.sections import Count, FolderName, Fraction, Name, PerSplit, Section, Seed
from synthgap.errors import suggest

Ratio = Annotated[float, Field(gt=0, le=100)]
OneOrMore = Annotated[
    list[Name],
    Field(min_length=1),
    BeforeValidator(
        lambda value: [value] if isinstance(value, str) else value,
        json_schema_input_type=str | list[str],
    ),
]
Sources = Annotated[list[Name], Field(min_length=2, max_length=16)]


class Probe(Section):
    """A view and the classifier trained and tested in it."""

    view: Name = Field(description="`rgb` or one of `views`")
    classifier: Name = Field(description="one of `classifiers`")
    seeds: list[Seed] = Field([0], min_length=1, description="one training each")


class Scaling(Section):
    """Paper A, appendix A: accuracy on real images by how many images there were to train on."""

    fractions: list[Fraction] = Field(
        min_length=1, description="of each class's training images, besides all of them"
    )
    probe: Name = Field("rgb", description="one of `probes`: its view and classifier")
    seeds: list[Seed] | None = Field(
        None, min_length=1, description="of the probe's; all of them if left out"
    )
    sources: list[Name] | None = Field(
        None, min_length=1, description="of the synthetic ones or `real`; all if left out"
    )


# What the names of linear probes begin with, before their encoder's.
LINEAR = "linear-"

# The studies of real and synthetic images together.
MIXINGS = ("mixing", "semi_supervised")


class Mixing(Section):
    """Real and synthetic images together, tested on real ones (paper C, section 6.2)."""

    replace: list[Ratio] = Field(
        [], description="synthetic images for each real one, in the place of as many real ones"
    )
    augment: list[Ratio] = Field(
        [], description="synthetic images for each real one, besides all real ones"
    )
    classifier: OneOrMore = Field(description="one of `classifiers`, or a list of them")
    view: Name = Field("rgb", description="`rgb` or one of `views`")
    seeds: list[Seed] = Field([0], min_length=1, description="one training each")
    sources: list[Name] | None = Field(
        None, min_length=1, description="of the synthetic ones; all if left out"
    )

    @property
    def classifiers(self) -> list[str]:
        """What is trained, each once."""
        return list(dict.fromkeys(self.classifier))

    @model_validator(mode="after")
    def _mixes(self) -> Self:
        if not (self.replace or self.augment):
            raise ValueError("name ratios in `replace`, in `augment`, or in both")
        return self


class Transfer(Section):
    """Paper A: train on one side, test on the other."""

    probes: dict[Name, Probe] = Field(description="`rgb` is required: figures relate to it")
    spectrum_samples: Annotated[int, Field(ge=10)] = Field(
        500, description="images a source for the power spectrum"
    )
    distribution: Name | None = Field(
        None, description="one of `distributions`, for figure and table; the first if left out"
    )

    scaling: Scaling | None = None

    @model_validator(mode="after")
    def _has_probes(self) -> Self:
        if "rgb" not in self.probes:
            raise ValueError("probe `rgb` is missing from `probes`")
        axis = self.scaling
        if axis and axis.probe not in self.probes:
            raise ValueError(f"scaling.probe: no `{axis.probe}` among `probes`")
        if axis and set(axis.seeds or []) - set(self.probes[axis.probe].seeds):
            # What all images give, the end of the axis, is trained for the probe.
            raise ValueError(f"scaling.seeds: only seeds of the probe `{axis.probe}`")
        return self


class Axes(Section):
    """What is changed, one at a time, for some comparisons and a classifier."""

    views: list[Name] = Field([], description="other views: crops, frequency bands, codecs")
    samples: list[Count] = Field(
        [],
        description="training images of each class and distribution, besides "
        "images_per_class.train; of more than that, classes give as many as they have in every "
        "source, and there are no controls",
    )
    comparisons: list[Sources] | None = Field(
        None, min_length=1, description="the first of `comparisons` if left out"
    )
    classifier: OneOrMore | None = Field(
        None,
        description="one or more of `classifiers`, or for `samples` alone also linear probes "
        "(`linear-mae`); the first of `classifiers` if left out",
    )
    seeds: list[Seed] | None = Field(None, min_length=1, description="those of the study")


class Occlusion(Section):
    """Maps of what a classifier's answer hangs on, for the first classifier and seed."""

    images: Count = Field(16, description="of each distribution")
    patch: Count = Field(description="side in pixels of the square that is covered")
    stride: Count = Field(description="pixels from one square to the next")

    @model_validator(mode="after")
    def _leaves_no_pixel_out(self) -> Self:
        if self.stride > self.patch:
            raise ValueError(
                f"stride: {self.stride} leaves pixels out between squares of {self.patch}"
            )
        return self


class Quiz(Section):
    """Two sources that people are asked to tell apart."""

    sources: Annotated[list[Name], Field(min_length=2, max_length=2)] = Field(
        description="the first is the one that the question asks for"
    )
    question: str | None = Field(None, description="`Which image is real?` and the like by default")
    references: Annotated[int, Field(ge=0)] = Field(
        0, description="labelled examples of each side, shown above"
    )

    @property
    def name(self) -> str:
        """Of its files."""
        return "+".join(self.sources)

    @property
    def asked(self) -> str:
        """The question."""
        first = self.sources[0]
        usual = "Which image is real?" if first == "real" else f"Which image is from {first}?"
        return self.question or usual


class People(Section):
    """Quizzes for people, and what they answered (paper C, section 5)."""

    quizzes: list[Quiz] = Field(min_length=1)
    pairs: Count = Field(32, description="of images to a quiz")
    answers: FolderName = Field(
        "data/answers",
        description="folder with a folder for each quiz (real+sdxl-caption) of the CSV files that "
        "its page exports",
    )

    @model_validator(mode="after")
    def _named_apart(self) -> Self:
        names = [quiz.name for quiz in self.quizzes]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"people.quizzes: {min(twice)} comes twice")
        return self


class Distinguish(Section):
    """Paper C: can classifiers tell distributions of images apart?"""

    comparisons: list[Sources] | None = Field(
        None,
        min_length=1,
        description="lists of two or more sources that are told apart, `real` among them or not; "
        "`real` and each synthetic source if left out",
    )
    controls: list[Name] = Field(
        ["real"], min_length=1, description="sources that are told from themselves, split in two"
    )
    classifiers: list[Name] = Field(min_length=1, description="of `classifiers`")
    probes: list[Name] = Field([], description="of `encoders`: linear classifiers of features")
    view: Name = "rgb"
    seeds: list[Seed] = Field([0], min_length=1)
    images_per_class: PerSplit = Field(
        description="of each distribution; a control takes twice as many of its source"
    )
    axes: Axes = Axes()
    occlusion: Occlusion | None = None
    people: People | None = None

    @model_validator(mode="after")
    def _compares(self) -> Self:
        lists = [("comparisons", self.comparisons), ("axes.comparisons", self.axes.comparisons)]
        quizzes = self.people.quizzes if self.people else []
        lists += [("people.quizzes", [quiz.sources for quiz in quizzes])]
        for where, comparisons in lists:
            for sources in comparisons or ():
                if len(set(sources)) < len(sources):
                    raise ValueError(
                        f"{where}: {sources} names a source twice; a source is told from itself "
                        "in `controls`"
                    )
        known = [*self.classifiers, *(LINEAR + probe for probe in self.probes)]
        for name in self.axes.classifier or ():
            if name not in known:
                raise ValueError(
                    f"axes.classifier: {name} is not in `classifiers`, and no linear probe of "
                    f"`probes`{suggest(name, known)}"
                )
        for samples in self.axes.samples:
            if samples == self.images_per_class.train:
                raise ValueError(
                    f"axes.samples: {samples} is images_per_class.train, which is on the axis "
                    "anyway"
                )
        return self


class Curve(Section):
    """Metrics by how long a model was trained (paper B, figure 3)."""

    steps: list[Count] = Field(
        min_length=1, description="after which the models are looked at, besides at their end"
    )
    generators: list[Name] | None = Field(
        None, min_length=1, description="of the study's; all that are trained here if left out"
    )


class TextToImage(Section):
    """Paper B: what captions and augmentation make of models that are trained on one data set."""

    generators: list[Name] = Field(
        min_length=1, description="that are compared, of `generators`, in the order of the table"
    )
    baselines: list[Name] | None = Field(
        None,
        min_length=1,
        description="of them: each other is compared with the one of its kind of denoiser; the "
        "first if left out",
    )
    classifier: Name | None = Field(
        None,
        description="one of `classifiers`: trained on real images, it tells whether images show "
        "the class that was asked for",
    )
    seeds: list[Seed] = Field([0], min_length=1, description="of the classifier, one training each")
    trainings: Count = Field(
        1,
        description="of each model that is trained here, each with a seed; intervals are over them",
    )
    curve: Curve | None = None

    @model_validator(mode="after")
    def _names_its_own(self) -> Self:
        named = {"baselines": self.baselines or []}
        named["curve.generators"] = self.curve.generators or [] if self.curve else []
        for key, names in named.items():
            for name in names:
                if name not in self.generators:
                    raise ValueError(f"{key}: {name} is not in `generators`")
        return self


class Studies(Section):
    """What is asked; what is left out is not done."""

    transfer: Transfer | None = None
    distinguish: Distinguish | None = None
    text_to_image: TextToImage | None = None
    casd: Casd | None = None
    mixing: Mixing | None = None
    semi_supervised: Mixing | None = Field(
        None,
        description="the same with few labels: `classifier` is of those whose recipe has "
        "`semi_supervised`. Images that are added keep the label they were made from; of real "
        "ones, and of those that replace them, only few labels are used",
    )

    @model_validator(mode="after")
    def _asks(self) -> Self:
        if not (self.transfer or self.distinguish or self.text_to_image or self.casd):
            raise ValueError("name one of `transfer`, `distinguish`, `text_to_image` and `casd`")
        return self
