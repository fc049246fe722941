"""How well people tell the images of two sources apart (paper C, section 5 and appendix D.6).

Answers come from the CSV files that the page of `synthgap.report.quiz` saves. Whether one is right
is told by the quiz's key alone, never by the file.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median, stdev
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synthgap.data.quiz import SIDES, Pair, Quiz
from synthgap.errors import UserError
from synthgap.metrics.intervals import Interval, bootstrap_accuracy_over_seeds, wilson
from synthgap.metrics.measures import Measure

COLUMNS = ("quiz", "participant", "pair", "left", "right", "chosen", "correct", "seconds")
RESAMPLES = 2000


class Answer(NamedTuple):
    """What one participant said of one pair."""

    right: bool
    seconds: float


Answers = dict[str, dict[int, Answer]]
"""by participant and number of the pair"""


def read_answers(paths: Iterable[Path], quiz: Quiz) -> Answers:
    """Return all answers, checked against the quiz; participants in alphabetical order.

    Participants may have stopped early, and lack pairs. Their names are compared as they are but
    for white space around them.

    Raises:
        UserError: a file is no CSV of answers, is of another quiz or holds none; or a participant
            answered a pair twice, in one file or in two.
    """
    found: Answers = {}
    where: dict[tuple[str, int], Path] = {}
    for path in paths:
        rows = _rows(path)
        if not rows:
            raise UserError(f"{path} holds no answers; leave the file out")
        for line, row in rows:
            participant, pair, answer = _answer(row, quiz, f"{path}, line {line}")
            if before := where.get((participant, pair)):
                again = "twice" if before == path else f"in {before} already"
                raise UserError(
                    f"{path}, line {line}: {participant} answered pair {pair} {again}; keep one "
                    "of the two, or give two people of one name different codes"
                )
            where[participant, pair] = path
            found.setdefault(participant, {})[pair] = answer
    if not found:
        raise UserError("no files of answers were given")
    return dict(sorted(found.items()))


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Return the rows of a CSV with the numbers of their lines."""
    hint = "give the CSV files that the quiz's page saved"
    try:
        # Spreadsheets put a byte-order mark before what they save as UTF-8.
        text = Path(path).read_text(encoding="utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise UserError(f"{path} has no column {', '.join(missing)}; {hint}")
        rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is no CSV that can be read ({error}); {hint}") from error
    for line, row in rows:
        if None in row or None in row.values():
            raise UserError(f"{path}, line {line} has not as many fields as columns; {hint}")
    return rows


def _answer(row: Mapping[str, str], quiz: Quiz, place: str) -> tuple[str, int, Answer]:
    """Return the participant, the pair's number and the answer of a row at `place`."""
    if row["quiz"] != quiz.id:
        raise UserError(f"{place} is of the quiz {row['quiz']}, and the key is of {quiz.id}")
    participant = row["participant"].strip()
    if not participant:
        raise UserError(f"{place} names no participant; write a code there")
    pair = _pair(row["pair"], quiz, place)
    if (row["left"], row["right"]) != (pair.left, pair.right):
        raise UserError(
            f"{place}: pair {pair.pair} shows {row['left']} and {row['right']}, and in the key "
            f"{pair.left} and {pair.right}; the file was changed"
        )
    if row["chosen"] not in SIDES:
        raise UserError(f"{place}: chosen is {row['chosen']!r}, not left or right")
    try:
        seconds = float(row["seconds"])
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise UserError(f"{place}: seconds is {row['seconds']!r}, not a number of 0 or more")
    return participant, pair.pair, Answer(row["chosen"] == pair.correct, seconds)


def _pair(text: str, quiz: Quiz, place: str) -> Pair:
    number = int(text) if text.isascii() and text.isdecimal() else 0
    if not 1 <= number <= len(quiz.pairs):
        raise UserError(f"{place}: the quiz has no pair {text!r}, but 1 to {len(quiz.pairs)}")
    return quiz.pairs[number - 1]


def measure_people(answers: Answers, quiz: Quiz, *, seed: int = 0) -> list[Measure]:
    """Return what the answers tell.

    - `human_accuracy`: the mean of the participants' accuracies, 0..1, where guessing gives 0.5;
      each participant counts alike, however many pairs they answered. Its n is the number of
      participants, and `settings.interval` says what its limits are, see `accuracy_over_people`
    - `human_accuracy_sd`: the standard deviation of these accuracies (the paper's error bars), with
      n - 1 in the denominator; of two participants or more
    - `human_participants`: how many
    - `human_seconds_median`: time taken for a pair, over all answers
    - `human_accuracy_of_participant`: of each, by `settings.participant`; n is the number of pairs
      answered, and the limits are Wilson's

    Raises:
        UserError: no answers.
    """
    if not answers:
        raise UserError("people: no answers to measure")
    total = sum(map(len, answers.values()))
    about = {"quiz": quiz.id, "question": quiz.question, "first": quiz.first, "second": quiz.second}
    shared = about | {"pairs": len(quiz.pairs), "answers": total}
    people = len(answers)
    interval, kind = accuracy_over_people(_matrix(answers, quiz), seed=seed)
    settings = shared | {"interval": kind}
    found = [Measure("human_accuracy", interval.value, people, *interval[1:], settings, "accuracy")]
    rows = [[answer.right for answer in given.values()] for given in answers.values()]
    if people > 1:
        spread = stdev(sum(row) / len(row) for row in rows)
        found.append(
            Measure("human_accuracy_sd", spread, people, settings=shared, name="accuracy_sd")
        )
    seconds = median(answer.seconds for given in answers.values() for answer in given.values())
    found += [
        Measure("human_participants", people, people, settings=shared, name="participants"),
        Measure("human_seconds_median", seconds, total, settings=shared, name="seconds"),
    ]
    for participant, row in zip(answers, rows, strict=True):
        value, low, high = wilson(sum(row), len(row))
        named = about | {"participant": participant, "interval": "wilson"}
        found.append(Measure("human_accuracy_of_participant", value, len(row), low, high, named))
    return found


def accuracy_over_people(
    right: NDArray[np.float64], *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[Interval, str]:
    """Mean of the participants' accuracies with a hierarchical percentile bootstrap.

    Every resample draws participants and pairs, both with replacement, and the same pairs for
    every participant drawn: all saw the same pairs, and what is hard for one is often hard for
    others. So the interval is for other people *and* other images. Where all answered all pairs,
    it is `synthgap.metrics.intervals.bootstrap_accuracy_over_seeds`, whose remark on few seeds
    holds for few participants too. Who answered none of the pairs drawn is left out of a resample.

    One participant's interval is Wilson's for the number of pairs answered, and so is that of
    participants who were always or never right.

    Args:
        right: (participants, pairs): 1 where right, 0 where wrong, NaN where not answered; at
            least one answer in each row.

    Returns:
        Accuracy in 0..1, and `wilson` or `bootstrap over participants and pairs`.

    Raises:
        UserError: not such a matrix, or a bad level or count.
    """
    answered = ~np.isnan(right)
    if right.ndim != 2 or not right.size or not answered.any(axis=1).all():
        raise UserError(
            "accuracy over people: expected (participants, pairs) with an answer in each row, got "
            f"{right.shape}"
        )
    accuracies = np.nansum(right, axis=1) / answered.sum(axis=1)
    value = float(accuracies.mean())
    if len(right) == 1 or value in (0.0, 1.0):
        seen = int(answered.any(axis=0).sum())
        return wilson(round(value * seen), seen, level), "wilson"
    kind = "bootstrap over participants and pairs"
    if answered.all():
        complete = bootstrap_accuracy_over_seeds(
            right.astype(bool), level=level, resamples=resamples, seed=seed
        )
        return complete, kind
    rng = np.random.default_rng(seed)
    people, pairs = right.shape
    weights = rng.multinomial(people, np.full(people, 1 / people), size=resamples)
    drawn = rng.multinomial(pairs, np.full(pairs, 1 / pairs), size=resamples)
    shown = drawn @ answered.T.astype(np.int64)
    means = drawn @ np.nan_to_num(right).T / np.maximum(shown, 1)
    weights = weights * (shown > 0)
    kept = weights.sum(axis=1) > 0
    resampled = (weights * means).sum(axis=1)[kept] / weights.sum(axis=1)[kept]
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high)), kind


def _matrix(answers: Answers, quiz: Quiz) -> NDArray[np.float64]:
    """Return (participants, pairs) as `accuracy_over_people` takes it."""
    right = np.full((len(answers), len(quiz.pairs)), np.nan)
    for row, given in zip(right, answers.values(), strict=True):
        for pair, answer in given.items():
            row[pair - 1] = answer.right
    return right
