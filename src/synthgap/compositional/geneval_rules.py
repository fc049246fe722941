"""GenEval's rules: from detected objects to whether an image shows what its prompt asks for.

Standard library, numpy and Python 3.9 only: the detector's environment reads this file.

Source: Ghosh, Hajishirzi and Schmidt, GenEval (NeurIPS 2023 Datasets and Benchmarks), section 3;
where the paper is silent, the decisions are those of the authors' `evaluate_images.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

COLOURS = (
    "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white",
)  # fmt: skip
# What CLIP compares a crop with: {c} is the colour, {name} the object's class.
COLOUR_TEMPLATES = (
    "a photo of a {c} {name}",
    "a photo of a {c}-colored {name}",
    "a photo of a {c} object",
)
# What a crop shows around the object's mask.
BACKGROUND = "#999"
RELATIONS = ("left of", "right of", "above", "below")
# The benchmark's names of three of COCO's 80 classes.
RENAMED = {"mouse": "computer mouse", "remote": "tv remote", "keyboard": "computer keyboard"}


@dataclass(frozen=True)
class Rules:
    """The benchmark's numbers; others give other scores."""

    threshold: float = 0.3
    """confidence that a detection must exceed"""
    counting_threshold: float = 0.9
    """the same, for prompts of the task `counting`"""
    max_objects: int = 16
    """detections kept of a class"""
    max_overlap: float = 1.0
    """intersection over union from which the less confident one is dropped; 1 drops none"""
    position_threshold: float = 0.1
    """share of both objects' sizes that their centres must be apart"""


@dataclass(frozen=True, eq=False)
class Found:
    """A detected object."""

    box: tuple[float, float, float, float]
    """left, top, right, bottom, in pixels"""
    score: float
    mask: NDArray[np.bool_] | None = None
    """(height, width): where the object is"""


Detections = Mapping[str, Sequence[Found]]
ColoursOf = Callable[[str, Sequence[Found]], Sequence[str]]


def select(
    boxes: Mapping[str, NDArray[Any]],
    masks: Mapping[str, Sequence[Any]] | None,
    tag: str,
    rules: Rules = Rules(),
) -> dict[str, list[Found]]:
    """Return the detections that count, by class, the most confident first.

    Args:
        boxes: by class, (n, 5): left, top, right, bottom in pixels, and confidence in 0..1.
        masks: by class, n boolean arrays (height, width); None for a detector without.
        tag: the prompt's task.
    """
    least = rules.counting_threshold if tag == "counting" else rules.threshold
    kept: dict[str, list[Found]] = {}
    for name, table in boxes.items():
        order = [int(i) for i in np.argsort(table[:, 4])[::-1] if table[i, 4] > least]
        found: list[Found] = []
        for i in order[: rules.max_objects]:
            left, top, right, bottom, score = (float(number) for number in table[i])
            box = (left, top, right, bottom)
            if rules.max_overlap != 1 and any(
                overlap(other.box, box) >= rules.max_overlap for other in found
            ):
                continue
            found.append(Found(box, score, None if masks is None else masks[name][i]))
        if found:
            kept[name] = found
    return kept


def overlap(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the intersection over union of two boxes whose last row and column are their own."""

    def area(box: Sequence[float]) -> float:
        return max(box[2] - box[0] + 1, 0) * max(box[3] - box[1] + 1, 0)

    inner = [max(first[0], second[0]), max(first[1], second[1])]
    inner += [min(first[2], second[2]), min(first[3], second[3])]
    shared = area(inner)
    union = area(first) + area(second) - shared
    return shared / union if union else 0.0


def relations(
    subject: Sequence[float],
    target: Sequence[float],
    rules: Rules = Rules(),
) -> set[str]:
    """Return where one box lies as seen from another: none, one or two of `RELATIONS`.

    The distance of the centres is lessened, on each axis, by a share of both boxes' extent. What
    is left must be more than half of the whole distance; so a diagonal is both `left of` and
    `above`, and overlapping boxes may be nothing at all.
    """
    apart, left_over = [], []
    for low, high in ((0, 2), (1, 3)):
        offset = (subject[low] + subject[high] - target[low] - target[high]) / 2
        extent = abs(subject[high] - subject[low]) + abs(target[high] - target[low])
        rest = max(abs(offset) - rules.position_threshold * extent, 0.0)
        apart.append(offset)
        left_over.append(math.copysign(rest, offset))
    if all(abs(rest) < 1e-3 for rest in left_over):
        return set()
    across, down = (rest / math.hypot(*apart) for rest in left_over)
    told = {"left of": -across, "right of": across, "above": -down, "below": down}
    return {name for name, share in told.items() if share > 0.5}


def judge(
    found: Detections,
    metadata: Mapping[str, Any],
    colours_of: ColoursOf,
    rules: Rules = Rules(),
) -> tuple[bool, str]:
    """Return whether an image shows what its prompt asks for, and what speaks against it.

    Every clause of `include` must hold: as many objects of the class, and the *most confident* of
    them (as many as are asked for, no others) in the colour and at the place. No clause of
    `exclude` may: as many objects of the class or more. A place is seen from the objects of an
    earlier clause, and each object must lie there as seen from each of those.

    Args:
        found: by class, the most confident first, as `select` returns them.
        metadata: of the prompt, a line of `evaluation_metadata.jsonl`.
        colours_of: the colour, one of `COLOURS`, of each of some objects of a class.

    Returns:
        Correct, and a line for each thing that is wrong (empty where nothing is).
    """
    wrong: list[str] = []
    # The objects that each clause of `include` is about; None where it does not hold.
    groups: list[Sequence[Found] | None] = []
    for clause in metadata.get("include", ()):
        name, count = clause["class"], clause["count"]
        chosen = list(found.get(name, ()))[:count]
        complaint = None
        if len(chosen) < count:
            complaint = f"{name}: {len(chosen)} found, {count} wanted"
        elif "color" in clause:
            colours = list(colours_of(name, chosen))
            if colours.count(clause["color"]) < count:
                complaint = f"{name}: {', '.join(colours)} instead of {clause['color']}"
        if complaint is None and "position" in clause:
            complaint = _misplaced(name, chosen, clause["position"], groups, rules)
        groups.append(chosen if complaint is None else None)
        if complaint is not None:
            wrong.append(complaint)
    for clause in metadata.get("exclude", ()):
        name, count = clause["class"], clause["count"]
        if len(found.get(name, ())) >= count:
            wrong.append(f"{name}: {len(found[name])} found, fewer than {count} wanted")
    return not wrong, "\n".join(wrong)


def _misplaced(
    name: str,
    chosen: Sequence[Found],
    position: Sequence[Any],
    groups: Sequence[Sequence[Found] | None],
    rules: Rules,
) -> str | None:
    wanted, number = position
    targets = groups[number]
    if targets is None:
        return f"{name}: nothing to be {wanted}"
    for subject in chosen:
        for target in targets:
            seen = relations(subject.box, target.box, rules)
            if wanted not in seen:
                where = " and ".join(sorted(seen)) or "at no clear side"
                return f"{name}: {where} instead of {wanted}"
    return None
