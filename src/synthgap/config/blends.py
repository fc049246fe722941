"""Data sets that are blended of parts of sources, and the axes of studies that they belong to."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from synthgap.config.studies import MIXINGS, Mixing, Scaling, Studies

REAL = "real"


@dataclass(frozen=True)
class Blend:
    """How many of each class's images are taken of which source."""

    shares: Mapping[str, float]
    """by source: 0..1 of its own images, or any ratio to the number of real ones"""
    to_real: bool = False
    """whether shares are ratios to the number of real images"""
    given: tuple[str, ...] = ()
    """sources whose labels a classifier is told that is told few of the others"""

    @property
    def name(self) -> str:
        """Of the data set: `sd15-classname@0.1`, `real@0.25+sd15-classname@0.75r`."""
        ends = {source: "r" * (self.to_real and source != REAL) for source in self.shares}
        return "+".join(f"{s}@{share:g}{ends[s]}" for s, share in self.shares.items())


@dataclass(frozen=True)
class Point:
    """One place on an axis of a study: what is trained on, and what the metrics table says."""

    study: str
    source: str
    """the synthetic source (or `real`) that the axis is of"""
    about: dict[str, Any] = field(hash=False)
    blend: Blend | None = None
    """None: a whole source"""
    whole: str = ""
    """that source"""

    @property
    def dataset(self) -> str:
        """Name of the data set that is trained on."""
        return self.blend.name if self.blend else self.whole


def points(studies: Studies, synthetic: list[str]) -> list[Point]:
    """Return the points of all axes; ends that are whole sources among them."""
    scaling = studies.transfer.scaling if studies.transfer else None
    return [
        *(_scaling(scaling, synthetic) if scaling else ()),
        *(
            point
            for name in MIXINGS
            if (study := getattr(studies, name))
            for point in _mixing(name, study, synthetic)
        ),
    ]


def _scaling(scaling: Scaling, synthetic: list[str]) -> Iterator[Point]:
    for source in dict.fromkeys(scaling.sources or [REAL, *synthetic]):
        for share in sorted(set(scaling.fractions)):
            yield Point("scaling", source, {"fraction": share}, Blend({source: share}))
        yield Point("scaling", source, {"fraction": 1.0}, whole=source)


def _mixing(study: str, mixing: Mixing, synthetic: list[str]) -> Iterator[Point]:
    for source in dict.fromkeys(mixing.sources or synthetic):
        for way in ("replace", "augment"):
            ratios = sorted(set(getattr(mixing, way)))
            if ratios:
                about = {"mixing": way, "synthetic_ratio": 0.0}
                yield Point(study, source, about, whole=REAL)
            for ratio in ratios:
                kept = 1.0 if way == "augment" else round(max(0.0, 1 - ratio), 9)
                shares = ({REAL: kept} if kept else {}) | {source: ratio}
                about = {"mixing": way, "synthetic_ratio": ratio}
                given = (source,) if way == "augment" else ()
                yield Point(study, source, about, Blend(shares, to_real=True, given=given))
