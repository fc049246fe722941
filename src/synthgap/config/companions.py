"""What study `text_to_image` trains and calls besides what a config writes down.

Each of its models that is trained here: again with other seeds (`ta~1`), for what another training
would come to; and as it was before its end (`ta@100`), for its curve.
"""

from collections.abc import Mapping
from typing import NamedTuple, TypeVar

from synthgap.config.generators import Generator
from synthgap.config.studies import TextToImage
from synthgap.config.text_to_image import TrainedModel

Entry = TypeVar("Entry", Generator, TrainedModel)


class Companion(NamedTuple):
    """A generator that stands beside one of the config's."""

    of: str
    step: int | None = None
    """how far its model was trained; None: to the end"""
    training: int = 0
    """which of the model's trainings"""


def companions(
    study: TextToImage | None, generators: Mapping[str, Generator]
) -> dict[str, Companion]:
    """Return what stands beside the generators of a study, by name."""
    if study is None:
        return {}
    trained = [name for name in study.generators if generators[name].trained]
    found = {
        f"{name}~{training}": Companion(name, training=training)
        for name in trained
        for training in range(1, study.trainings)
    }
    if study.curve:
        for name in study.curve.generators or trained:
            found |= {f"{name}@{step}": Companion(name, step) for step in study.curve.steps}
    return found


def add(where: str, entries: dict[str, Entry], further: Mapping[str, Entry]) -> None:
    """Add to a config's entries; a whole config that is read again has them.

    Raises:
        ValueError: one of the names is taken.
    """
    for name, made in further.items():
        if name in entries and entries[name].model_dump() != made.model_dump():
            raise ValueError(
                f"{where}.{name}: study text_to_image gives this name to one of its own; choose "
                "another"
            )
        entries[name] = made


def further_generators(
    found: Mapping[str, Companion], generators: Mapping[str, Generator]
) -> dict[str, Generator]:
    """Return the companions themselves."""
    made = {}
    for name, one in found.items():
        of = generators[one.of]
        trained = f"{of.trained}~{one.training}" if one.training else of.trained
        made[name] = of.model_copy(update={"trained": trained, "step": one.step or of.step})
    return made


def further_trainings(
    found: Mapping[str, Companion],
    generators: Mapping[str, Generator],
    models: Mapping[str, TrainedModel],
) -> dict[str, TrainedModel]:
    """Return the models of companions that are trained anew, each with a seed of its own.

    What such a model goes on from is trained anew, too.
    """
    made: dict[str, TrainedModel] = {}
    for one in found.values():
        name = generators[one.of].trained if one.training else None
        # Each once: models that go on from each other in a circle are refused later.
        while (again := f"{name}~{one.training}") not in made and (model := models.get(name or "")):
            start = f"{model.start}~{one.training}" if model.start in models else model.start
            made[again] = model.model_copy(
                update={"seed": model.seed + one.training, "start": start}
            )
            name = model.start
    return made
