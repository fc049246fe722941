"""Which sources there are, which splits and shards of them, and which studies look at them."""

from functools import cached_property

from synthgap.config import casd
from synthgap.config.blends import Blend, Point, points
from synthgap.config.classifiers import Classifier
from synthgap.config.companions import (
    Companion,
    companions,
)
from synthgap.config.comparisons import Comparison, Trial, trials
from synthgap.config.encoders import ClassifierEncoder, Encoder
from synthgap.config.sections import (
    SPLITS,
    PerSplit,
    Split,
)
from synthgap.config.studies import MIXINGS, Mixing, Probe
from synthgap.config.written import Written
from synthgap.prompts import NEEDS_CAPTION

IMAGES = "images"  # in the place of a kind of prompt


class Sources(Written):
    """A config, with the sources that follow from it."""

    @cached_property
    def generated(self) -> dict[str, tuple[str, str]]:
        """Synthetic sources that are made here: name to (generator, kind of prompt)."""
        usual = self.synthetic.prompts
        return {
            # Of what is trained here and reads no prompts there is nothing else to tell apart.
            (name if generator.edm else f"{name}-{kind}"): (name, kind)
            for name, generator in self.generators.items()
            # A class's number says no more than its name.
            for kind in (["classname"] if generator.told_classes else generator.prompts or usual)
        }

    @cached_property
    def sources(self) -> dict[str, tuple[str, str]]:
        """All synthetic sources: name to (generator or image set, kind of prompt or `images`)."""
        return self.generated | {name: (name, IMAGES) for name in self.image_sets}

    @cached_property
    def companions(self) -> dict[str, Companion]:
        """The generators that study `text_to_image` adds for itself."""
        return companions(self.studies.text_to_image, self.generators)

    @cached_property
    def casd_models(self) -> dict[str, casd.Trained]:
        """The models of study `casd` by the sources that they are, if it is asked for."""
        study = self.studies.casd
        return casd.trained(study) if study else {}

    @cached_property
    def compared_sources(self) -> list[str]:
        """The synthetic sources that all studies look at."""
        added = {*self.companions, *self.casd_models}
        return [source for source, (name, _) in self.sources.items() if name not in added]

    @cached_property
    def guided(self) -> dict[str, str]:
        """Sources with realism guidance, and those without it that they are of."""
        return {
            source: f"{realism.of}-{kind}"
            for source, (name, kind) in self.generated.items()
            if (realism := self.generators[name].realism)
        }

    @cached_property
    def points(self) -> list[Point]:
        """The places on axes of training data: fractions and mixtures to train on."""
        return points(self.studies, self.compared_sources)

    @cached_property
    def blends(self) -> dict[str, Blend]:
        """The data sets that are blended of parts of sources, by name."""
        return {point.dataset: point.blend for point in self.points if point.blend}

    def judged(self, comparison: str) -> dict[str, str]:
        """Return the sources that classifiers of a comparison are shown besides, and as which.

        Of `real` and a generator without realism guidance, those of the same with it.
        """
        one = self.comparisons[comparison]
        first, other, *more = one.sources
        if one.samples or first != "real" or more or other not in self.generated:
            return {}
        return {source: other for source in self.guided if self.guided[source] == other}

    @property
    def transfer_probes(self) -> dict[str, Probe]:
        """The probes of study `transfer`, if it is asked for."""
        return self.studies.transfer.probes if self.studies.transfer else {}

    @property
    def mixings(self) -> dict[str, Mixing]:
        """The studies of real and synthetic images together that are asked for."""
        found = {name: getattr(self.studies, name) for name in MIXINGS}
        return {name: study for name, study in found.items() if study}

    @cached_property
    def trials(self) -> list[Trial]:
        """What study `distinguish` trains, if it is asked for."""
        study = self.studies.distinguish
        return trials(study, self.compared_sources) if study else []

    @cached_property
    def comparisons(self) -> dict[str, Comparison]:
        """The data sets of study `distinguish`, by name."""
        return {trial.comparison.name: trial.comparison for trial in self.trials}

    @property
    def used_encoders(self) -> dict[str, Encoder]:
        """The encoders that a distribution is measured with, or a linear probe trained on."""
        used = {distribution.encoder for distribution in self.distributions.values()}
        used |= set(self.studies.distinguish.probes if self.studies.distinguish else ())
        return {name: encoder for name, encoder in self.encoders.items() if name in used}

    @cached_property
    def used_classifiers(self) -> dict[str, Classifier]:
        """The classifiers that a study or an encoder needs."""
        used = {probe.classifier for probe in self.transfer_probes.values()}
        used |= {trial.classifier for trial in self.trials}
        used |= {name for mixing in self.mixings.values() for name in mixing.classifiers}
        for study in (self.studies.text_to_image, self.studies.casd):
            if study and study.classifier:
                used.add(study.classifier)
        encoders = self.used_encoders.values()
        used |= {one.classifier for one in encoders if isinstance(one, ClassifierEncoder)}
        return {name: one for name, one in self.classifiers.items() if name in used}

    def sources_in(self, view: str) -> list[str]:
        """Return the sources that something is trained, tested or measured on in a view."""
        everything = ["real", *self.compared_sources]
        if view in {encoder.view for encoder in self.used_encoders.values()}:
            return ["real", *self.sources]
        if view in {probe.view for probe in self.transfer_probes.values()}:
            return everything
        used = {s for t in self.trials if t.view == view for s in t.comparison.sources}
        for mixing in self.mixings.values():
            if mixing.view == view:
                used |= {"real", *(mixing.sources or everything)}
        return [source for source in everything if source in used]

    def splits_of(self, source: str) -> list[Split]:
        """Return the splits of a source that something is trained, tested or measured on."""
        if source not in self.generated or source in {*self.guided, *self.guided.values()}:
            return list(SPLITS)
        if source in self.casd_models:
            return ["train"]
        alone = self.generated[source][0] in self.companions
        asked = self.studies
        if not alone and (asked.transfer or asked.distinguish or self.mixings):
            return list(SPLITS)
        used: set[Split] = {one.split for one in self.distributions.values()}
        used |= {self.alignment.split} if self.alignment else set()
        used |= {"train"} if self.replication and not alone else set()
        # Contact sheets, and the classifier that tells whether the class is there.
        return [split for split in SPLITS if split in used | {"test"}]

    @property
    def shown_sources(self) -> list[str]:
        """The sources whose test images the report shows in every view: few, as views cost."""
        kinds = (self.synthetic.prompts[0], IMAGES)
        found = [name for name in self.compared_sources if self.sources[name][1] in kinds]
        found = found or self.compared_sources
        return ["real", *dict.fromkeys([found[0], found[-1]])]

    @cached_property
    def captioned(self) -> list[str]:
        """The sources whose images are captioned."""
        if not self._prompted_by_captions and not self.trained_models:
            return []
        composites = self.composites if self.captioner.composites else []
        return ["real", *(f"cutmix-{pattern}" for pattern in composites)]

    @property
    def _prompted_by_captions(self) -> bool:
        return any(kind in NEEDS_CAPTION for _, kind in self.generated.values())

    def caption_splits(self, source: str) -> list[Split]:
        """Return the splits of a source that are captioned: those that prompts are made of."""
        if source == "real" and self._prompted_by_captions:
            return list(SPLITS)
        return ["train"]

    def shards_of(self, source: str, view: str = "rgb") -> PerSplit:
        """Return the number of shards a split that a source has in a view."""
        if source not in self.sources:
            return self.real.shards
        usual = self.synthetic.shards
        name = self.sources[source][0]
        made = (self.image_sets.get(name) or self.generators[name]).shards or usual
        if view == "rgb" or made is usual:
            return made
        # A view takes a small part of the time that generation does: fewer jobs of it will do.
        return PerSplit(**{split: min(made[split], usual[split]) for split in SPLITS})

    def samples_of(self, source: str) -> PerSplit:
        """Return how many images of each class a synthetic source has in each split."""
        name = self.sources[source][0]
        made = self.image_sets.get(name) or self.generators[name]
        return made.samples_per_class or self.synthetic.samples_per_class

    def measured_in(self, distribution: str) -> list[str]:
        """Return the synthetic sources that a distribution is measured of."""
        one = self.distributions[distribution]
        if one.sources is not None:
            return list(one.sources)
        # Images of some classes are compared with real ones of these classes.
        of_classes = {name for name, one in self.casd_models.items() if one.classes}
        return [source for source in self.sources if source not in of_classes]
