"""A quiz for people, as in paper C, appendix D.6: pairs of images, one of each of two sources.

People say which image of a pair is of the first source ("Which one is real?"). Which images are
shown depends on the seed and on the images' keys, and not on their order or shards.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from synthgap.data.shards import Manifest, image_of
from synthgap.errors import UserError
from synthgap.seeds import derive_seed

Side = Literal["left", "right"]
SIDES: tuple[Side, Side] = ("left", "right")

_T = TypeVar("_T")


class Picture(NamedTuple):
    """One image of a manifest."""

    row: int
    key: str
    class_name: str
    sha256: str


class Drawn(NamedTuple):
    """What a quiz shows, by source: (first, second)."""

    pairs: list[tuple[Picture, Picture]]
    correct: list[Side]
    """where the first source's image stands"""
    references: tuple[list[Picture], list[Picture]]


@dataclass(frozen=True)
class Pair:
    """Two images side by side, by their keys, and where the first source's one stands."""

    pair: int
    """from 1"""
    left: str
    right: str
    correct: Side
    left_class: str
    right_class: str


@dataclass(frozen=True)
class Quiz:
    """The questions of a quiz with their answers."""

    id: str
    """a digest of the rest and of the images' bytes"""
    question: str
    first: str
    """the source to be found"""
    second: str
    pairs: tuple[Pair, ...]

    def text(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"


def read_quiz(path: Path) -> Quiz:
    """Return the quiz that `Quiz.text` wrote.

    Raises:
        UserError: the file holds something else.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        quiz = Quiz(**content | {"pairs": tuple(Pair(**pair) for pair in content["pairs"])})
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is no key that write_quiz wrote ({error!r})") from error
    numbers = [pair.pair for pair in quiz.pairs]
    sides = {pair.correct for pair in quiz.pairs}
    if not numbers or numbers != list(range(1, len(numbers) + 1)) or not sides <= set(SIDES):
        raise UserError(
            f"{path} is no whole key: its pairs must be numbered from 1 on, each with left or "
            "right as the correct side; write it anew with write_quiz"
        )
    return quiz


def draw_quiz(
    first: Manifest, second: Manifest, *, pairs: int, references: int = 0, seed: int
) -> Drawn:
    """Draw pairs of images, one of each source, and examples of both.

    The images of a pair are of one class, and the pairs of as many classes as possible; only where
    the sources have no class name in common, pairs are of any classes. No image is shown twice: of
    crops of one image one is shown, of files of the same bytes one, and none that both sources
    hold. In half of the pairs the first source's image stands left, so that who always answers
    alike is right in one half.

    Args:
        pairs: at least 1.
        references: examples of each source, not among the pairs.

    Raises:
        UserError: too few images, or fewer than one pair.
    """
    if pairs < 1 or references < 0:
        raise UserError(f"quiz: {pairs} pairs and {references} references cannot be drawn")
    sides = [_pictures(first, "first", seed), _pictures(second, "second", seed)]
    shared = {p.sha256 for p in sides[0]} & {p.sha256 for p in sides[1]}
    sides = [[p for p in side if p.sha256 not in shared] for side in sides]
    chosen = _pair(sides, seed)[:pairs]
    if len(chosen) < pairs:
        hint = f" ({len(shared)} images are in both and cannot be told apart)" if shared else ""
        raise UserError(
            f"{first.path} and {second.path} give {len(chosen)} pairs of one class without an "
            f"image twice, and {pairs} are asked for{hint}; ask for fewer or make more images"
        )
    examples = []
    paired = {picture for pair in chosen for picture in pair}
    for manifest, side in zip((first, second), sides, strict=True):
        left = _spread(_by_class(p for p in side if p not in paired), seed)
        if len(left) < references:
            raise UserError(
                f"{manifest.path} has {len(left)} images beside those of the pairs, and "
                f"{references} are asked for as examples; ask for fewer"
            )
        examples.append(left[:references])
    order = sorted(range(pairs), key=lambda i: _order(seed, "side", chosen[i][0].key))
    half = (pairs + derive_seed("quiz", seed, "odd") % 2) // 2
    correct: list[Side] = ["right"] * pairs
    for index in order[:half]:
        correct[index] = "left"
    return Drawn(chosen, correct, (examples[0], examples[1]))


def as_quiz(drawn: Drawn, *, question: str, first: str, second: str) -> Quiz:
    """Return the questions of what was drawn.

    Args:
        first, second: what the sources are called.
    """
    found = []
    for number, (pair, correct) in enumerate(zip(drawn.pairs, drawn.correct, strict=True), 1):
        left, right = pair if correct == "left" else pair[::-1]
        found.append(Pair(number, left.key, right.key, correct, left.class_name, right.class_name))
    shown = [p.sha256 for row in (*drawn.pairs, *drawn.references) for p in row]
    facts: list[Any] = [question, first, second, [asdict(pair) for pair in found], shown]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
    return Quiz(digest, question, first, second, tuple(found))


def _order(*parts: str | int) -> tuple[int, str | int]:
    """Return what sorts at random: a hash, and the last part where two hashes are alike."""
    return derive_seed("quiz", *parts), parts[-1]


def _pictures(manifest: Manifest, side: str, seed: int) -> list[Picture]:
    """Return the images of a manifest in random order, one of all that show the same."""
    names = ("key", "class_name", "sha256", "details")
    columns = (manifest.table[name].to_pylist() for name in names)
    rows = list(enumerate(zip(*columns, strict=True)))
    rows.sort(key=lambda row: _order(seed, side, row[1][0]))
    found, seen = [], set()
    for row, (key, class_name, sha256, details) in rows:
        image = image_of(key, details)
        if image not in seen and sha256 not in seen:
            found.append(Picture(row, key, class_name, sha256))
        seen |= {image, sha256}
    return found


def _pair(sides: Sequence[Sequence[Picture]], seed: int) -> list[tuple[Picture, Picture]]:
    """Return the pairs that can be had without an image twice, those of unlike classes first."""
    first, second = (_by_class(side) for side in sides)
    if common := first.keys() & second.keys():
        pairs = {name: list(zip(first[name], second[name], strict=False)) for name in common}
        return _spread(pairs, seed)
    return list(zip(_spread(first, seed), _spread(second, seed), strict=False))


def _by_class(pictures: Iterable[Picture]) -> dict[str, list[Picture]]:
    found: dict[str, list[Picture]] = {}
    for picture in pictures:
        found.setdefault(picture.class_name, []).append(picture)
    return found


def _spread(by_class: Mapping[str, Sequence[_T]], seed: int) -> list[_T]:
    """Return the first of each class, then the second of each..., classes in random order."""
    classes = sorted(by_class, key=lambda name: _order(seed, "class", name))
    rounds = zip_longest(*(by_class[name] for name in classes))
    return [one for row in rounds for one in row if one is not None]
