"""Study `casd`, paper D: does synthetic data help a diffusion model, and does it do no harm?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from synthgap.config.edm import EDMModel, SyntheticImages
from synthgap.config.generators import Argument, Generator
from synthgap.config.sections import Classes, Count, Name, Section, Seed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from synthgap.config.metrics import Distribution

Arm = Literal["dm", "sda", "casd"]
ARMS: tuple[Arm, ...] = ("dm", "sda", "casd")


class Design(Section):
    """Models that are compared: every arm at every size, with every source."""

    images: list[Count] = Field(min_length=1, description="n: real images, in all")
    synthetic: list[Count] = Field(min_length=1, description="m: synthetic images, in all")
    sources: list[Name] = Field(
        min_length=1, description="of the synthetic images, of all sources of this config"
    )
    classes: Classes | None = Field(
        None, description="numbers of the real images' classes, which are to be generated; all if "
        "left out",
    )  # fmt: skip
    synthetic_classes: Classes | None = Field(
        None, description="the same of the synthetic images: a mismatch where they differ"
    )
    arms: list[Arm] = Field(
        list(ARMS),
        min_length=1,
        description="`dm`: real images alone; `sda`: both, unlabelled; `casd`: both, each with "
        "its source",
    )


class Sampling(Section):
    """How the models are sampled."""

    steps: Count = Field(18, description="of Heun's method, two evaluations each but the last")
    batch_size: int | Literal["auto"] = Field("auto", description="images a call")
    arguments: dict[str, Argument] = Field({}, description="such as `sigma_max`")
    threads: Count = Field(1, description="CPU threads; a fixed number, as it moves last digits")


class Memorised(Section):
    """What counts as a copy of a training image, by the metrics of `replication`."""

    ssim: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="SSIM with the nearest training image from which on it is a copy"
    )
    lpips: Annotated[float, Field(gt=0)] | None = Field(
        None, description="LPIPS to the nearest training image up to which it is a copy"
    )


class Casd(Section):
    """Paper D: DM against SDA against CASD."""

    model: Name = Field(description="of `edm_models`: network and training of all arms")
    designs: dict[Name, Design] = Field(min_length=1, description="a table of the report each")
    seeds: list[Seed] = Field([0], min_length=1, description="of the trainings, one each an arm")
    sampling: Sampling = Sampling()
    distribution: Name = Field(
        description="one of `distributions`, with `frechet` and `prdc`; where a design has "
        "`classes`, generated images are compared with real ones of these classes alone"
    )
    classifier: Name | None = Field(
        None,
        description="one of `classifiers`: trained on real images, it says of which classes "
        "generated ones are",
    )
    memorised: Memorised = Memorised()

    @model_validator(mode="after")
    def _has_a_baseline(self) -> Self:
        for name, design in self.designs.items():
            if "dm" not in design.arms:
                raise ValueError(f"designs.{name}.arms: the others are compared with `dm`; add it")
        return self


@dataclass(frozen=True)
class Trained:
    """A model of the study: an arm with its images."""

    arm: Arm
    images: int
    seed: int
    classes: tuple[int, ...] | None = None
    synthetic: int = 0
    source: str | None = None
    synthetic_classes: tuple[int, ...] | None = None

    @property
    def name(self) -> str:
        """Of the model and its generator: what it is made of, so that designs share models."""
        parts = [f"{self.arm}-n{self.images}", _told(self.classes)]
        if self.source:
            parts += [self.source, f"m{self.synthetic}", _told(self.synthetic_classes)]
        return "-".join([*filter(None, parts), *([f"s{self.seed}"] if self.seed else [])])

    def model(self, base: EDMModel) -> EDMModel:
        """Return what is trained, with network and training of another."""
        parts = []
        if self.source:
            classes = list(self.synthetic_classes) if self.synthetic_classes else None
            parts = [SyntheticImages(source=self.source, images=self.synthetic, classes=classes)]
        return base.model_copy(
            update={
                "images": self.images,
                "classes": list(self.classes) if self.classes else None,
                "synthetic": parts,
                "source_label": self.arm == "casd",
                "class_label": False,
                "seed": self.seed,
            }
        )

    def generator(self, sampling: Sampling) -> Generator:
        """Return how it is sampled."""
        return Generator(
            edm=self.name,
            steps=sampling.steps,
            batch_size=sampling.batch_size,
            arguments=sampling.arguments,
            threads=sampling.threads,
        )


def trained(study: Casd) -> dict[str, Trained]:
    """Return the models of a study by name, each once."""
    found = [one for design in study.designs.values() for one in of_design(design, study.seeds)]
    return {one.name: one for one in found}


def of_design(design: Design, seeds: Sequence[int]) -> Iterator[Trained]:
    """Yield the models of a design, in the order of its table."""
    real = tuple(design.classes) if design.classes else None
    synthetic = tuple(design.synthetic_classes) if design.synthetic_classes else None
    for arm in sorted(design.arms, key=ARMS.index):
        for images in design.images:
            for seed in seeds:
                if arm == "dm":
                    yield Trained(arm, images, seed, real)
                    continue
                for source in design.sources:
                    for count in design.synthetic:
                        yield Trained(arm, images, seed, real, count, source, synthetic)


def _told(classes: Sequence[int] | None) -> str:
    """`0, 1, 2, 5` -> `c0to2.5`; nothing for all classes."""
    if classes is None:
        return ""
    runs: list[list[int]] = []
    for one in sorted(set(classes)):
        if runs and one == runs[-1][-1] + 1:
            runs[-1].append(one)
        else:
            runs.append([one])
    parts = [str(run[0]) if len(run) == 1 else f"{run[0]}to{run[-1]}" for run in runs]
    return "c" + ".".join(parts)


def subset_name(distribution: str, classes: Sequence[int]) -> str:
    """Return what a distribution is called that compares with some classes alone."""
    return f"{distribution}-{_told(classes)}"


def subsets(study: Casd, whole: Distribution, classes: int | None) -> dict[str, Distribution]:
    """Return what designs with `classes` are measured by: `whole`, with real images of these alone.

    Args:
        classes: how many there are in all, if known.

    Raises:
        ValueError: it is not known.
    """
    found: dict[str, Distribution] = {}
    for one in trained(study).values():
        if one.classes is None:
            continue
        if classes is None:
            raise ValueError("studies.casd.designs: `classes` need their number, real.classes")
        name = subset_name(study.distribution, one.classes)
        known = found[name].sources if name in found else None
        found[name] = whole.model_copy(
            update={
                "classes": list(one.classes),
                "sources": [*(known or []), one.name],
                # Of so many classes there are so many fewer real images.
                "samples": whole.samples * len(one.classes) // classes,
                "few": True,
            }
        )
    return found


def about(study: Casd, one: Trained) -> dict[str, Any]:
    """Return what the metrics table says of a model's numbers."""
    # By name, with their places in the report.
    designs = {
        name: place
        for place, (name, design) in enumerate(study.designs.items())
        if one in of_design(design, study.seeds)
    }
    return {
        "arm": one.arm,
        "real_images": one.images,
        "synthetic_images": one.synthetic,
        "synthetic_source": one.source,
        "classes": list(one.classes) if one.classes else None,
        "synthetic_classes": list(one.synthetic_classes) if one.synthetic_classes else None,
        "designs": designs,
        "training_seed": one.seed,
        "distribution": (
            subset_name(study.distribution, one.classes) if one.classes else study.distribution
        ),
    }
