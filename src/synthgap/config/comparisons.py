"""What study C tells apart, and what is trained for it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from synthgap.config.blends import REAL
from synthgap.config.studies import Distinguish

# Names that predictions have in the place of a classifier's.
LINEAR = "linear-"
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
    """Return all that is trained; each axis ends with what the main table has."""
    main = comparisons(study, synthetic)
    found = [
        Trial(comparison, study.view, name, tuple(study.seeds))
        for comparison in main
        for name in study.classifiers
    ]
    # These are the same whatever the seed.
    alike = [*FILES, *(LINEAR + encoder for encoder in study.probes)]
    found += [Trial(comparison, study.view, name, (0,)) for comparison in main for name in alike]
    return [*found, *_on_axes(study, main)]


def _on_axes(study: Distinguish, main: list[Comparison]) -> Iterator[Trial]:
    axes = study.axes
    name = axes.classifier or study.classifiers[0]
    seeds = tuple(axes.seeds or study.seeds)
    chosen = [Comparison(tuple(sources)) for sources in axes.comparisons or [list(main[0].sources)]]
    chosen += [comparison for comparison in main if comparison.is_control]
    for comparison in chosen:
        for view in [*axes.views, study.view] if axes.views else ():
            yield Trial(comparison, view, name, seeds, "views")
        for samples in sorted(set(axes.samples)):
            yield Trial(Comparison(comparison.sources, samples), study.view, name, seeds, "samples")
        if axes.samples:
            yield Trial(comparison, study.view, name, seeds, "samples")
