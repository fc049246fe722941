"""GenEval: does an image show the objects, numbers, colours and places that its prompt names?

553 prompts of six tasks, four images each. An object detector and CLIP judge an image as right or
wrong (`geneval_rules`); a task's score is the share of its images that are right, and the overall
score is the mean over the six tasks.

Source: Ghosh, Hajishirzi and Schmidt, GenEval (NeurIPS 2023 Datasets and Benchmarks); scores as in
the authors' `summary_scores.py`. The tasks' sizes are those of their `evaluation_metadata.jsonl`.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthgap.compositional.geneval_rules import COLOURS, RELATIONS
from synthgap.compositional.images import (
    IMAGES_PER_PROMPT,
    find_images,
    folder_beside,
    has_png,
    read_png,
    require_whole,
    write_flushed,
)
from synthgap.compositional.scoring import Stratum, size_suffix, stratified_mean
from synthgap.data.shards import ImageReader
from synthgap.errors import UserError, suggest
from synthgap.metrics.intervals import Interval, bootstrap_mean
from synthgap.metrics.measures import Measure

BENCHMARK = "geneval"
TASKS = {
    "single_object": 80,
    "two_object": 99,
    "counting": 80,
    "colors": 94,
    "position": 100,
    "color_attr": 100,
}
"""with their official numbers of prompts, 553 together"""


@dataclass(frozen=True)
class Prompt:
    """A line of the official file."""

    task: str
    text: str
    metadata: dict[str, Any]
    """the whole line"""

    @property
    def identity(self) -> str:
        """What tells it from others, as text."""
        return json.dumps(self.metadata, sort_keys=True)


def read_prompts(path: Path) -> list[Prompt]:
    """Read the official `evaluation_metadata.jsonl`.

    Raises:
        UserError: naming file and line, for whatever is malformed.
    """
    prompts, seen = [], set()
    for number, line in _lines(path):
        where = f"{path}, line {number}"
        metadata = _object(line, where)
        task, text = metadata.get("tag"), metadata.get("prompt")
        if task not in TASKS:
            raise UserError(f"{where}: no task `{task}`{suggest(str(task), TASKS)}")
        if not isinstance(text, str) or not text.strip():
            raise UserError(f"{where}: `prompt` must be a text")
        include, exclude = metadata.get("include"), metadata.get("exclude", [])
        if not isinstance(include, list) or not include or not isinstance(exclude, list):
            raise UserError(
                f"{where}: `include` must list objects, and `exclude` too if it is there"
            )
        for before, clause in [*enumerate(include), *((0, clause) for clause in exclude)]:
            _check_clause(clause, before, where)
        prompt = Prompt(task, text, metadata)
        if prompt.identity in seen:
            raise UserError(f"{where}: the same as an earlier line")
        seen.add(prompt.identity)
        prompts.append(prompt)
    if not prompts:
        raise UserError(f"{path}: no prompts")
    return prompts


def _check_clause(clause: Any, before: int, where: str) -> None:
    name = clause.get("class") if isinstance(clause, dict) else None
    if not isinstance(name, str) or not name:
        raise UserError(f"{where}: an object needs a `class`, not {clause!r}")
    count = clause.get("count")
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise UserError(f"{where}: `count` of {name} must be a whole number from 1, not {count!r}")
    if "color" in clause and clause["color"] not in COLOURS:
        raise UserError(f"{where}: `color` of {name} must be one of {', '.join(COLOURS)}")
    if "position" in clause:
        position = clause["position"]
        if not (
            isinstance(position, list)
            and len(position) == 2
            and position[0] in RELATIONS
            and isinstance(position[1], int)
            and 0 <= position[1] < before
        ):
            raise UserError(
                f"{where}: `position` of {name} must be [one of {', '.join(RELATIONS)}; the number "
                f"of an earlier object], not {position!r}"
            )


def unofficial(prompts: Sequence[Prompt]) -> str | None:
    """Return in what way this is not the official set of prompts; None if it looks like it."""
    found = Counter(prompt.task for prompt in prompts)
    other = [f"{found[t]} of {t} instead of {n}" for t, n in TASKS.items() if found[t] != n]
    if not other:
        return None
    return f"{len(prompts)} prompts instead of GenEval's {sum(TASKS.values())} ({', '.join(other)})"


def lay_out(tars: Sequence[Path], prompts: Sequence[Prompt], folder: Path, few: bool) -> int:
    """Write images as the reference evaluation expects them; return their number.

    `folder` gets NNNNN/metadata.jsonl and NNNNN/samples/0000.png... of each prompt that has any.

    Raises:
        UserError: as `find_images` and `require_whole` do.
    """
    found = find_images(tars, BENCHMARK, [prompt.text for prompt in prompts])
    require_whole(found, few)
    digests = [[place.sha256 for place in images.values()] for images in found]
    stamp = hashlib.sha256(json.dumps([digests, [p.identity for p in prompts]]).encode())
    with folder_beside(folder, stamp.hexdigest()) as part, ImageReader() as reader:
        for number, images in enumerate(found):
            if not images:
                continue
            samples = part / f"{number:05d}" / "samples"
            samples.mkdir(parents=True, exist_ok=True)
            line = json.dumps(prompts[number].metadata) + "\n"
            write_flushed(samples.parent / "metadata.jsonl", line.encode())
            for image, place in images.items():
                path = samples / f"{image:04d}.png"
                if not has_png(path):
                    write_flushed(path, read_png(reader, place))
    return sum(map(len, found))


def read_results(path: Path, prompts: Sequence[Prompt]) -> list[list[bool]]:
    """Return whether each image of each prompt is right, from a `results.jsonl`.

    That of `detect_objects` or of the reference's `evaluate_images.py`: both hold, of each image,
    `filename`, `correct` and the prompt's `metadata`.

    Raises:
        UserError: naming file and line, for whatever is malformed, twice, or of other prompts.
    """
    numbers = {prompt.identity: number for number, prompt in enumerate(prompts)}
    right: list[list[bool]] = [[] for _ in prompts]
    files = set()
    for number, line in _lines(path):
        where = f"{path}, line {number}"
        result = _object(line, where)
        correct, file = result.get("correct"), result.get("filename")
        if not isinstance(correct, bool) or not isinstance(file, str):
            raise UserError(f"{where}: `correct` must be true or false, and `filename` a text")
        if file in files:
            raise UserError(f"{where}: {file} is there twice")
        files.add(file)
        metadata = result.get("metadata")
        if isinstance(metadata, str):
            metadata = _object(metadata, where)
        prompt = numbers.get(json.dumps(metadata, sort_keys=True))
        if prompt is None:
            raise UserError(f"{where}: {file} is of none of the {len(prompts)} prompts")
        right[prompt].append(correct)
    return right


def measures(
    prompts: Sequence[Prompt],
    right: Sequence[Sequence[bool]],
    *,
    few: bool = False,
    rewritten: bool = False,
    seed: int = 0,
) -> list[Measure]:
    """Return the scores with 95 % intervals over prompts, all in 0..1.

    `geneval_overall`, the mean over the tasks; `geneval_TASK`, the share of right images of each;
    `geneval_images_correct` and `geneval_prompts_correct`, the share of all images, and of prompts
    with a right image at least. n counts prompts.

    Args:
        right: as `read_results` returns it.
        few: allow fewer prompts, or another number of images; names then tell the size.
        rewritten: images were made from other wordings of the prompts; names then tell so.

    Raises:
        UserError: the set is not complete, and `few` is not given; or there are no images.
    """
    counts = np.asarray([len(images) for images in right])
    reason = unofficial(prompts)
    if reason is None and (other := int((counts != IMAGES_PER_PROMPT).sum())):
        reason = f"{other} prompts have not {IMAGES_PER_PROMPT} images"
    if not counts.sum():
        raise UserError("geneval: no images")
    if reason and not few:
        raise UserError(
            f"geneval: {reason}; allow `few` for scores that are named after their size"
        )
    table = np.asarray([(sum(images), len(images)) for images in right], dtype=np.float64)
    strata: dict[str, Stratum] = {}
    for task in TASKS:
        rows = [i for i, prompt in enumerate(prompts) if prompt.task == task and counts[i]]
        if rows:
            strata[task] = table[rows]
    kind = "_rewritten" if rewritten else ""

    def measure(what: str, score: Interval, of: Stratum, **settings: Any) -> Measure:
        images = int(of[:, 1].sum())
        name = f"geneval_{what}{kind}"
        suffix = size_suffix(len(of), images, reason is None)
        told: Mapping[str, Any] = {"images": images, **settings}
        return Measure(name + suffix, score.value, len(of), score.low, score.high, told, name)

    whole = np.concatenate(list(strata.values()))
    overall = stratified_mean(list(strata.values()), seed=seed)
    any_right = bootstrap_mean(whole[:, 0] > 0, seed=seed)
    return [
        measure("overall", overall, whole, tasks=list(strata)),
        *(measure(t, stratified_mean([one], seed=seed), one) for t, one in strata.items()),
        measure("images_correct", stratified_mean([whole], seed=seed), whole),
        measure("prompts_correct", any_right, whole),
    ]


def _lines(path: Path) -> list[tuple[int, str]]:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not text ({error})") from error
    return [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UserError(f"{where}: not JSON ({error})") from None
    if not isinstance(value, dict):
        raise UserError(f"{where}: not a JSON object")
    return value
