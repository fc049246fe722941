"""DPG-Bench's questions, as its official file has them.

Standard library and Python 3.9 only: the environment that answers them reads this file.

Source: Hu et al., ELLA (arXiv 2403.05135), section 4; `dpg_bench.csv` of TencentQQGYLab/ELLA.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, field
from pathlib import Path

from synthgap.errors import UserError

COLUMNS = (
    "item_id", "text", "proposition_id", "dependency", "tuple", "question_natural_language",
)  # fmt: skip
OFFICIAL_PROMPTS = 1065


@dataclass(frozen=True)
class Question:
    """A yes/no question about one image."""

    number: int
    """its `proposition_id`, which others name as their parent"""
    text: str
    parents: tuple[int, ...]
    """numbers of the questions that must be answered `yes` before it counts"""
    category: str
    """level 2, such as `entity - whole`; level 1 is what stands before the dash"""


@dataclass(frozen=True)
class Item:
    """A prompt with its questions, in the file's order."""

    item_id: str
    prompt: str
    questions: dict[int, Question] = field(default_factory=dict)


def read_items(path: Path, folder: Path | None = None) -> list[Item]:
    """Read the official file: all its questions, in its order.

    The reference's own reader leaves out the file's very first question, by what looks like a
    second skipping of the header; here it is kept.

    Args:
        folder: of the prompts, ITEM_ID.txt each, to take them from there instead of the column
            `text`.

    Raises:
        UserError: naming file and line, for whatever is malformed.
    """
    items: dict[str, Item] = {}
    last = None
    with Path(path).open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, strict=True)
        try:
            missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
            if missing:
                raise UserError(
                    f"{path}: no column {', '.join(missing)}; expected the benchmark's "
                    "dpg_bench.csv"
                )
            for row in rows:
                where = f"{path}, line {rows.line_num}"
                item_id = (row["item_id"] or "").strip()
                if not re.fullmatch(r"[\w ,()&+=@~-]+", item_id):
                    raise UserError(f"{where}: `{item_id}` cannot be an item_id: it names a file")
                if item_id not in items:
                    prompt = (row["text"] or "").strip()
                    if folder is not None:
                        prompt = _prompt(folder / f"{item_id}.txt", where)
                    if not prompt:
                        raise UserError(f"{where}: item {item_id} has no prompt")
                    items[item_id] = Item(item_id, prompt)
                elif item_id != last:
                    raise UserError(f"{where}: item {item_id} goes on after another item")
                question = _question(row, where)
                # Of two with one number the later holds, at the earlier's place: the reference's.
                items[item_id].questions[question.number] = question
                last = item_id
        except (csv.Error, UnicodeDecodeError) as error:
            raise UserError(f"{path}, line {rows.line_num}: not readable ({error})") from error
    if not items:
        raise UserError(f"{path}: no questions")
    for item in items.values():
        for question in item.questions.values():
            for parent in question.parents:
                if parent not in item.questions:
                    raise UserError(
                        f"{path}: question {question.number} of item {item.item_id} depends on "
                        f"{parent}, which it has not"
                    )
    return list(items.values())


def unofficial(items: list[Item]) -> str | None:
    """Return in what way this is not the official set of prompts; None if it looks like it."""
    if len(items) == OFFICIAL_PROMPTS:
        return None
    return f"{len(items)} prompts instead of DPG-Bench's {OFFICIAL_PROMPTS}"


def _question(row: dict[str, str], where: str) -> Question:
    text = (row["question_natural_language"] or "").strip()
    category = (row["tuple"] or "").split("(")[0].strip()
    try:
        number = int(row["proposition_id"])
        parents = [int(parent) for parent in row["dependency"].split(",")]
    except (AttributeError, TypeError, ValueError):
        raise UserError(
            f"{where}: proposition_id `{row['proposition_id']}` and dependency "
            f"`{row['dependency']}` must be whole numbers, several of the latter between commas"
        ) from None
    if not text or not category or number < 1:
        raise UserError(f"{where}: a question needs a text, a tuple and a number from 1")
    # 0 stands for no parent.
    return Question(number, text, tuple(parent for parent in parents if parent), category)


def _prompt(path: Path, where: str) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{where}: the prompt of this item is not in {path} ({error})") from error
