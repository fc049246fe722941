"""Numbers of images as upper limits: a config that fits whatever folder it is given.

For a folder whose size is not known when the config is written. All numbers follow from that of
the smallest class, so the same folder always gives the same study.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthgap.config.sections import SPLITS
from synthgap.data.class_folders import count_images
from synthgap.errors import UserError

if TYPE_CHECKING:
    from synthgap.config.written import Written

# Two to validate and two to test on, as study C's control parts them in halves, and some to train.
LEAST_IN_CLASS = 10
# Of each side of a distribution; the control's are test images.
LEAST_COMPARED = 20
# Folders that people sort data sets into first; taken for classes they would be a study of nothing.
SPLIT_NAMES = {"train", "training", "val", "valid", "validation", "test", "testing"}


def found_images(config: Written) -> dict[str, dict[str, int]]:
    """Return the number of images by class in each folder of real images, by its option.

    Raises:
        UserError: a folder is not there, has no classes, one alone, or one without images.
    """
    real, found = config.real, {}
    names = tuple(sorted(real.class_names.items()))
    for option in ("folder", "test_folder"):
        place = getattr(real, option)
        if place is None:
            continue
        where = f"real.{option}"
        counts = count_images(place, real.class_table, names, where)
        if {name.lower() for name in counts} <= SPLIT_NAMES:
            raise UserError(
                f"{where}: the folders of {place} ({', '.join(counts)}) are splits and not "
                f"classes; name the one with the class folders, {Path(place, next(iter(counts)))} "
                "say, and that of test images as real.test_folder"
            )
        if len(counts) < 2:
            raise UserError(
                f"{where}: {place} has one class, {next(iter(counts))}; a study needs two folders "
                "of classes at least"
            )
        found[option] = counts
    return found


def fit(config: Written, raw: dict[str, Any]) -> dict[str, Any]:
    """Return a config file's content with its numbers of images lowered to what there is.

    Args:
        config: the same, as far as its sections are checked by themselves.

    Raises:
        UserError: see `found_images`; or a class has too few images for any study.
    """
    found = found_images(config)
    real = _real_images(config, found)
    classes = len(found["folder"])
    raw = copy.deepcopy(raw)
    raw["real"] |= {"images_per_class": real, "classes": classes}
    raw["real"].pop("val_fraction", None)
    raw["real"].pop("test_fraction", None)
    made = _lowered(config.synthetic.samples_per_class, real)
    raw["synthetic"]["samples_per_class"] = made
    for section in ("generators", "image_sets"):
        for name, one in getattr(config, section).items():
            if one.samples_per_class:
                raw[section][name]["samples_per_class"] = _lowered(one.samples_per_class, real)
    total: dict[str, int] = {s: classes * min(real[s], made[s]) for s in SPLITS}
    for name, distribution in config.distributions.items():
        _require(config, f"distributions.{name}", total[distribution.split], distribution.split)
        control = distribution.split_of("real")
        _require(config, f"distributions.{name}", classes * real[control], control)
        raw["distributions"][name]["samples"] = min(distribution.samples, total[distribution.split])
    if config.alignment and config.alignment.samples:
        there = classes * made[config.alignment.split]
        raw["alignment"]["samples"] = min(config.alignment.samples, there)
    if config.replication:
        # Of the control, real test images.
        _lower(raw["replication"], "samples", min(total["train"], classes * real["test"]))
        _lower(raw["replication"], "training_samples", classes * real["train"])
    _fit_studies(config, raw["studies"], classes, real, total)
    return raw


def _fit_studies(
    config: Written,
    studies: dict[str, Any],
    classes: int,
    real: dict[str, int],
    total: dict[str, int],
) -> None:
    """Lower the numbers of the studies, in place."""
    asked = config.studies
    if asked.transfer:
        wanted = min(asked.transfer.spectrum_samples, total["train"])
        studies["transfer"]["spectrum_samples"] = wanted
    if asked.distinguish:
        told, study = studies["distinguish"], asked.distinguish
        # The control takes twice as many of its source.
        halves: dict[str, int] = {split: real[split] // 2 for split in SPLITS}
        told["images_per_class"] = taken = _lowered(study.images_per_class, halves)
        if study.axes.samples:
            kept = [number for number in study.axes.samples if number < taken["train"]]
            told["axes"]["samples"] = kept
        if study.occlusion:
            most = classes * taken["test"]
            told["occlusion"]["images"] = min(study.occlusion.images, most)
        if study.people:
            examples = max(quiz.references for quiz in study.people.quizzes)
            told["people"]["pairs"] = max(1, min(study.people.pairs, total["test"] - examples))
    if asked.casd:
        for name, design in asked.casd.designs.items():
            told = studies["casd"]["designs"][name]
            # Of the chosen classes alone, where a design names some.
            of_real, of_synthetic = (
                per_class * len(chosen or range(classes))
                for per_class, chosen in (
                    (real["train"], design.classes),
                    (total["train"] // classes, design.synthetic_classes),
                )
            )
            told["images"] = sorted({min(number, of_real) for number in design.images})
            told["synthetic"] = sorted({min(number, of_synthetic) for number in design.synthetic})


def _real_images(config: Written, found: dict[str, dict[str, int]]) -> dict[str, int]:
    """Return how many real images of each class are taken, by split.

    As many as the config says, or of fewer in the same proportions.
    """
    real = config.real
    for option, counts in found.items():
        smallest = min(counts, key=lambda name: counts[name])
        least = LEAST_IN_CLASS if option == "folder" else 2
        if counts[smallest] < least:
            raise UserError(
                f"real.{option}: class {smallest} of {getattr(real, option)} has "
                f"{counts[smallest]} images, and each class needs {least} to be trained, "
                "validated and tested on; add images or take the class away"
            )
    least = min(found["folder"].values())
    own_tests = min(found["test_folder"].values()) if "test_folder" in found else None
    if real.images_per_class:
        wanted: dict[str, int] = {split: real.images_per_class[split] for split in SPLITS}
    else:
        wanted = {split: round(least * getattr(real, f"{split}_fraction", 0)) for split in SPLITS}
        wanted["test"] = wanted["test"] if own_tests is None else own_tests
        wanted["train"] = least - wanted["val"] - (wanted["test"] if own_tests is None else 0)
    shared = [split for split in SPLITS if split != "test" or own_tests is None]
    whole = sum(wanted[split] for split in shared)
    taken = dict(wanted)
    if whole > least:
        for split in shared:
            taken[split] = max(2, wanted[split] * least // whole)
        taken["train"] = least - sum(taken[split] for split in shared if split != "train")
    if own_tests is not None:
        taken["test"] = min(wanted["test"], own_tests)
    return taken


def _require(config: Written, where: str, there: int, split: str) -> None:
    if there < LEAST_COMPARED:
        raise UserError(
            f"{where}: {config.real.folder} gives {there} {split} images, as many of each class as "
            f"the smallest has, and {LEAST_COMPARED} are compared at least; add images or classes"
        )


def _lowered(wanted: Any, there: dict[str, int]) -> dict[str, int]:
    return {split: min(wanted[split], there[split]) for split in SPLITS}


def _lower(section: dict[str, Any], key: str, most: int) -> None:
    if section.get(key) is not None:
        section[key] = min(section[key], most)
