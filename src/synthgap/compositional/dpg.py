"""DPG-Bench: how many yes/no questions about a long prompt does an image answer with yes?

1065 prompts, four images each, shown as one 2x2 grid. A model answers each question for each image;
a question whose parent scores nothing scores nothing itself. An image's score is the mean over its
prompt's questions, a prompt's the mean over its images, the benchmark's the mean over prompts.

Source: Hu et al., ELLA (arXiv 2403.05135), section 4; scores as in `compute_dpg_bench.py` of
TencentQQGYLab/ELLA, but for the file's first question (see `dpg_questions.read_items`). As there,
scores by category leave parents out of account and are of each prompt's *last* image only.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthgap.compositional.dpg_questions import Item, Question, unofficial
from synthgap.compositional.images import (
    IMAGES_PER_PROMPT,
    find_images,
    folder_beside,
    has_png,
    require_whole,
    write_flushed,
)
from synthgap.compositional.scoring import size_suffix, stratified_mean
from synthgap.data.images import encode
from synthgap.data.shards import ImageReader
from synthgap.errors import UserError
from synthgap.metrics.intervals import Interval, bootstrap_mean
from synthgap.metrics.measures import Measure

BENCHMARK = "dpg-bench"
COUNTS = ".images.json"
"""in a layout with fewer images than cells: how many cells, from the first, each grid has filled"""
Answers = Mapping[str, Mapping[int, Mapping[int, bool]]]
"""by item, image and question: was it `yes`?"""


def lay_out(tars: Sequence[Path], items: Sequence[Item], folder: Path, few: bool) -> int:
    """Write images as the reference evaluation expects them; return their number.

    `folder` gets ITEM_ID.png of each prompt that has any: a 2x2 grid of its images, line by line.
    Cells without an image are black, and `COUNTS` then tells how many have one.

    Raises:
        UserError: as `find_images` and `require_whole` do; or images of a prompt differ in size.
    """
    found = find_images(tars, BENCHMARK, [item.prompt for item in items])
    require_whole(found, few)
    if any(len(images) > IMAGES_PER_PROMPT for images in found):
        raise UserError(f"a grid has {IMAGES_PER_PROMPT} cells, and some prompts more images")
    digests = [[place.sha256 for place in images.values()] for images in found]
    stamp = hashlib.sha256(json.dumps([digests, [i.item_id for i in items]]).encode())
    with folder_beside(folder, stamp.hexdigest()) as part, ImageReader() as reader:
        for item, images in zip(items, found, strict=True):
            path = part / f"{item.item_id}.png"
            if images and not has_png(path):
                places = images.values()
                cells = [reader.read_image(p.tar, p.offset, p.length, p.sha256) for p in places]
                write_flushed(path, encode(grid(cells, item.item_id), "png"))
        counts = {item.item_id: len(n) for item, n in zip(items, found, strict=True) if n}
        if set(counts.values()) != {IMAGES_PER_PROMPT}:
            write_flushed(part / COUNTS, json.dumps(counts).encode())
    return sum(map(len, found))


def grid(cells: Sequence[NDArray[np.uint8]], name: str) -> NDArray[np.uint8]:
    """Return up to four square images (side, side, 3) as one (2 side, 2 side, 3), line by line.

    Raises:
        UserError: they differ in size, or are not square.
    """
    shapes = {cell.shape for cell in cells}
    side = cells[0].shape[0]
    if shapes != {(side, side, 3)}:
        raise UserError(f"{name}: images of sizes {sorted(s[:2] for s in shapes)}, not one square")
    whole = np.zeros((2 * side, 2 * side, 3), np.uint8)
    for i, cell in enumerate(cells):
        down, across = divmod(i, 2)
        whole[down * side : (down + 1) * side, across * side : (across + 1) * side] = cell
    return whole


def read_answers(path: Path, items: Sequence[Item]) -> Answers:
    """Return the answers in a file of `answer_questions`, a JSON line each.

    Raises:
        UserError: naming file and line, for whatever is malformed, twice or about no question; an
            image whose questions are not all answered.
    """
    known = {item.item_id: item for item in items}
    answers: dict[str, dict[int, dict[int, bool]]] = {}
    with Path(path).open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            where = f"{path}, line {number}"
            try:
                found = json.loads(line)
                item_id, image = found["item_id"], found["image"]
                question, answer = found["proposition_id"], found["answer"]
            except (KeyError, TypeError, ValueError) as error:
                raise UserError(f"{where}: not an answer ({error!r})") from None
            if item_id not in known or question not in known[item_id].questions:
                raise UserError(f"{where}: there is no question {question} of item `{item_id}`")
            if not isinstance(image, int) or not isinstance(answer, str):
                raise UserError(f"{where}: `image` must be a number, and `answer` a text")
            of_image = answers.setdefault(item_id, {}).setdefault(image, {})
            if question in of_image:
                raise UserError(f"{where}: question {question} of `{item_id}` is answered twice")
            of_image[question] = answer == "yes"
    for item_id, images in answers.items():
        for image, given in images.items():
            if missing := known[item_id].questions.keys() - given.keys():
                raise UserError(
                    f"{path}: image {image} of `{item_id}` has no answer to question {min(missing)}"
                )
    return answers


def score_image(item: Item, answers: Mapping[int, bool]) -> float:
    """Return the mean over questions, in 0..1, where a failed parent fails its children.

    In the file's order, so that failing goes on to children's children; a parent that comes
    after its child counts with its bare answer.
    """
    passed = dict(answers)
    for number, question in item.questions.items():
        if not all(passed[parent] for parent in question.parents):
            passed[number] = False
    return sum(passed[number] for number in item.questions) / len(item.questions)


def measures(
    items: Sequence[Item],
    answers: Answers,
    *,
    few: bool = False,
    rewritten: bool = False,
    seed: int = 0,
) -> list[Measure]:
    """Return the scores with 95 % intervals over prompts, all in 0..1 (papers print percent).

    `dpg_bench`, and by category `dpg_bench_entity`..., `dpg_bench_entity_whole`...: the share of
    questions that were answered with yes. n counts prompts that have such a question.

    Args:
        few: allow fewer prompts, or another number of images; names then tell the size.
        rewritten: images were made from other wordings of the prompts; names then tell so.

    Raises:
        UserError: the set is not complete, and `few` is not given; or there are no answers.
    """
    asked = [item for item in items if item.item_id in answers]
    if not asked:
        raise UserError("dpg-bench: no answers")
    counts = [len(answers[item.item_id]) for item in asked]
    reason = unofficial(list(items))
    if reason is None and len(asked) < len(items):
        reason = f"{len(items) - len(asked)} prompts have no image"
    if reason is None and (other := sum(n != IMAGES_PER_PROMPT for n in counts)):
        reason = f"{other} prompts have not {IMAGES_PER_PROMPT} images"
    if reason and not few:
        raise UserError(
            f"dpg-bench: {reason}; allow `few` for scores that are named after their size"
        )
    kind = "_rewritten" if rewritten else ""

    def measure(what: str, score: Interval, n: int, images: int, **settings: Any) -> Measure:
        name = f"dpg_bench{what}{kind}"
        told = {"images": images, **settings}
        metric = name + size_suffix(n, images, reason is None)
        return Measure(metric, score.value, n, score.low, score.high, told, name)

    by_image = [[score_image(i, one) for one in answers[i.item_id].values()] for i in asked]
    mean = bootstrap_mean(np.asarray([np.mean(scores) for scores in by_image]), seed=seed)
    questions = sum(len(item.questions) for item in asked)
    found = [measure("", mean, len(asked), sum(counts), questions=questions)]
    for ending in _endings(asked):
        rows = []
        for item in asked:
            last = answers[item.item_id][max(answers[item.item_id])]
            given = [last[n] for n, q in item.questions.items() if ending in _endings_of(q)]
            if given:
                rows.append((sum(given), len(given)))
        table = np.asarray(rows, dtype=np.float64)
        score, in_category = stratified_mean([table], seed=seed), int(table[:, 1].sum())
        found.append(measure(ending, score, len(rows), len(rows), questions=in_category))
    return found


def _endings(items: Sequence[Item]) -> list[str]:
    """Return what the names of all categories' scores end in; level 1 first."""
    pairs = {_endings_of(question) for item in items for question in item.questions.values()}
    return sorted({broad for broad, _ in pairs}) + sorted({fine for _, fine in pairs})


@cache
def _endings_of(question: Question) -> tuple[str, str]:
    """Return what the names of a question's two categories' scores end in: `_entity`, ..."""
    broad, _, rest = question.category.partition("-")
    # `global -` has no second part; without one it would bear the name of its level 1.
    fine = f"{broad} {rest.strip() or 'general'}"
    return _ending(broad), _ending(fine)


def _ending(category: str) -> str:
    return "_" + re.sub(r"[^a-z0-9]+", "_", category.lower()).strip("_")
