"""What study C tells apart, and what is trained for it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from synthgap.config.blends import REAL
from synthgap.config.sections import SPLITS
from synthgap.config.studies import LINEAR, Distinguish

# Names that predictions have in the place of a classifier's, besides those of linear probes.
HEADERS = "headers"
METADATA = "metadata"
FILES = (HEADERS, METADATA)
GUIDING = "the one that steers"


@dataclass(frozen=True)
class Comparison:
    """Distributions that are told apart, one class each."""

    sources: tuple[str, ...]
    samples: int | None = None
    """training images of each class and distribution; None: as many as the study has"""

    @property
    def name(self) -> str:
        """Of the data set: `real+sd15-classname`, `real+real`, `real+sd15-classname~100`."""
        return "+".join(self.sources) + (f"~{self.samples}" if self.samples else "")

    def images(self, study: Distinguish) -> list[int]:
        """Return how many images of each class and distribution it takes, by split."""
        found = [study.images_per_class[split] for split in SPLITS]
        return [self.samples or found[0], *found[1:]]

    def is_large(self, study: Distinguish) -> bool:
        """Whether it has more training images than the study's others.

        So many there may not be of each class.
        """
        return (self.samples or 0) > study.images_per_class.train

    @property
    def is_control(self) -> bool:
        """Whether a source is told from itself."""
        return len(set(self.sources)) == 1


@dataclass(frozen=True)
class Trial:
    """A comparison by one classifier in one view: a training a seed."""

    comparison: Comparison
    view: str
    classifier: str
    """one of `classifiers`, or a linear probe's name, or one of `FILES`"""
    seeds: tuple[int, ...]
    axis: str = "main"
    """what differs from the study's main table: `main` (nothing), `views`, `samples`"""

    @property
    def is_network(self) -> bool:
        """Whether an architecture is trained, and not a linear probe or a control of files."""
        return self.classifier not in FILES and not self.classifier.startswith(LINEAR)


def comparisons(study: Distinguish, synthetic: Sequence[str]) -> list[Comparison]:
    """Return the comparisons of the main table, the controls last."""
    named = study.comparisons or [[REAL, source] for source in synthetic]
    controls = [[source, source] for source in study.controls]
    return [Comparison(tuple(sources)) for sources in [*named, *controls]]


def trials(study: Distinguish, synthetic: Sequence[str]) -> list[Trial]:
    """Return all that is trained; each axis has a place for what the main table has."""
    main = comparisons(study, synthetic)
    found = [
        Trial(comparison, study.view, name, tuple(dict.fromkeys(study.seeds)))
        for comparison in main
        for name in study.classifiers
    ]
    # These are the same whatever the seed.
    alike = [*FILES, *(LINEAR + encoder for encoder in study.probes)]
    found += [Trial(comparison, study.view, name, (0,)) for comparison in main for name in alike]
    # What is named twice is done once.
    return list(dict.fromkeys([*found, *_on_axes(study, main)]))


def _on_axes(study: Distinguish, main: list[Comparison]) -> Iterator[Trial]:
    axes = study.axes
    seeds = tuple(dict.fromkeys(axes.seeds or study.seeds))
    chosen = [Comparison(tuple(sources)) for sources in axes.comparisons or [list(main[0].sources)]]
    chosen += [comparison for comparison in main if comparison.is_control]
    sized = [
        one
        for comparison in chosen
        for samples in [*sorted(set(axes.samples)), None]
        # Of all images that there are, a control would take twice as many.
        if not ((one := Comparison(comparison.sources, samples)).is_control and one.is_large(study))
    ]
    for name in axes.classifier or study.classifiers[:1]:
        linear = name.startswith(LINEAR)
        for comparison in () if linear or not axes.views else chosen:
            for view in [*axes.views, study.view]:
                yield Trial(comparison, view, name, seeds, "views")
        for comparison in sized if axes.samples else ():
            # A probe is the same whatever the seed.
            yield Trial(comparison, study.view, name, (0,) if linear else seeds, "samples")
