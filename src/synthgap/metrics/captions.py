"""What captions are like: length, vocabulary, class names, duplicates, failures, cost, truncation.

Rows are read once and not kept; what is kept is 8 bytes a number for the means and the duplicates,
and the words with their counts. A word is a run of letters and digits, in lower case, with hyphens
and apostrophes inside. No number depends on the order of the rows.

Intervals. Shares are Wilson's, means a percentile bootstrap over captions. Two numbers have none,
as their bootstrap would lie beside them: a resample repeats captions, and so holds more duplicates
and fewer distinct words than any real set of the size. Totals are no estimates.

Source: number of distinct words in N captions after S. H. Hurlbert, The nonconcept of species
diversity (Ecology 1971), equation 14, with captions as samples.
"""

import hashlib
import math
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from synthgap.errors import UserError
from synthgap.metrics.intervals import Interval, bootstrap_mean, wilson

STUDY = "captions"
# What any text encoder of a pipeline cut.
ANY = "any"

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_GAP = r"[\s_-]+"
_SUMS = {
    "input_tokens": "input_tokens_total",
    "output_tokens": "output_tokens_total",
    "cost_usd": "cost_usd_total",
}


class Measure(NamedTuple):
    """One number; NaN limits where there is no interval."""

    metric: str
    interval: Interval
    n: int
    """images, captions or prompts that it is of"""
    settings: dict[str, Any]


class CaptionTally:
    """Counts over captions, row by row.

    Rows are those of a caption table: `synthgap.data.captions.CAPTION_SCHEMA`, `text` not needed.
    """

    def __init__(self) -> None:
        self.images = 0
        self.statuses: Counter[str] = Counter()
        self.cut_off = 0
        self.naming = 0
        self.words: Counter[str] = Counter()  # captions that hold the word
        self.lengths = array("q")
        self.digests = array("Q")
        self.known = {name: array("d") for name in _SUMS}
        self.tokens = array("q")  # of each caption
        self.made_by: dict[str, set[str]] = {
            name: set() for name in ("captioner", "model", "prompt")
        }

    def add(self, row: Mapping[str, Any]) -> None:
        """Count one row."""
        self.images += 1
        self.statuses[row["status"].split(":")[0]] += 1
        self.cut_off += row["finish"] == "length"
        for name, known in self.known.items():
            if row[name] is not None:
                known.append(row[name])
        for name, found in self.made_by.items():
            if row[name]:
                found.add(row[name])
        if row["status"] == "ok":
            self._add_caption(row)

    def measure(self, *, vocabulary_of: int = 1000, seed: int = 0) -> list[Measure]:
        """Return what was counted; what nothing is known of is left out.

        - `words_mean`, `tokens_mean`: of a caption, tokens as the model counts its output
        - `distinct_words`: in `settings.captions` captions, `vocabulary_of` and all; of the former
          the mean over all choices of so many, as the number grows with the captions looked at
        - `share_naming_class`: of captions, see `names_class`
        - `share_duplicate`: of captions that equal an earlier one but for case and space
        - `share_refused`, `share_empty`, `share_failed`: of images without a caption
        - `share_cut_off`: of images whose reply ended at the limit of tokens
        - `input_tokens_total`, `output_tokens_total`, `cost_usd_total`: over the images of which
          they are known

        The settings of all name `captioner`, `model` and `prompt`; several are joined by commas.

        Args:
            vocabulary_of: captions, at least 1; fewer where there are no more.
            seed: of the bootstrap.

        Raises:
            UserError: no rows, or `vocabulary_of` is not positive.
        """
        if not self.images:
            raise UserError("captions: no rows to measure")
        if vocabulary_of < 1:
            raise UserError(f"captions: vocabulary_of must be positive: {vocabulary_of}")
        about = {name: ", ".join(sorted(names)) for name, names in self.made_by.items() if names}
        found: list[Measure] = []

        def add(metric: str, interval: Interval, n: int, **settings: Any) -> None:
            found.append(Measure(metric, interval, n, about | settings))

        n = len(self.lengths)
        for metric, values in (("words_mean", self.lengths), ("tokens_mean", self.tokens)):
            if values:
                add(metric, bootstrap_mean(np.asarray(values), seed=seed), len(values))
        if n:
            for captions in sorted({min(vocabulary_of, n), n}):
                words = distinct_words(self.words.values(), n, captions)
                add("distinct_words", _bare(words), n, captions=captions)
            add("share_naming_class", wilson(self.naming, n), n)
            repeated = n - len(np.unique(np.asarray(self.digests)))
            add("share_duplicate", _bare(repeated / n), n)
        for status in ("refused", "empty", "failed"):
            add(f"share_{status}", wilson(self.statuses[status], self.images), self.images)
        add("share_cut_off", wilson(self.cut_off, self.images), self.images)
        for name, metric in _SUMS.items():
            if known := self.known[name]:
                add(metric, _bare(math.fsum(known)), len(known))  # exact, so in any order
        return found

    def _add_caption(self, row: Mapping[str, Any]) -> None:
        words = [word.lower() for word in _WORD.findall(row["caption"])]
        self.lengths.append(len(words))
        self.words.update(set(words))
        self.naming += names_class(row["caption"], row["class_name"])
        self.digests.append(_digest(" ".join(row["caption"].casefold().split())))
        if row["output_tokens"] is not None:
            self.tokens.append(row["output_tokens"])


def names_class(caption: str, class_name: str) -> bool:
    """Whether a caption has the name of its class in it.

    The words of the name must stand there whole and in their order, in any case, with spaces,
    hyphens or underscores between them; the last may end in a plural's "s" or "es". Of several
    names with commas between ("great white shark, white shark") any will do.
    """
    pattern = _pattern(class_name)
    return bool(pattern and pattern.search(caption.replace("’", "'")))


def distinct_words(frequencies: Iterable[int], n: int, captions: int) -> float:
    """Distinct words to expect in some of `n` captions, chosen at random without replacement.

    Exact, as the mean over all choices: a word in d captions is in none of the chosen with
    probability C(n - d, captions) / C(n, captions).

    Args:
        frequencies: for each word, in how many of the captions it is, 1..n.
        captions: how many are chosen, 1..n.

    Raises:
        UserError: `captions` or a frequency is outside 1..n.
    """
    occurring = Counter(frequencies)
    if not all(1 <= number <= n for number in (captions, *occurring)):
        raise UserError(f"distinct words: numbers of captions must lie in 1..{n}")
    # For d = 0, 1, ...: one more caption with the word is not among the chosen.
    left = n - np.arange(n - captions)
    absent = np.exp(np.concatenate([[0.0], np.cumsum(np.log1p(-captions / left))]))
    return math.fsum(
        count * (1.0 - (absent[d] if d < len(absent) else 0.0)) for d, count in occurring.items()
    )


def measure_truncation(
    prompts: Iterable[tuple[str, Mapping[str, int]]], *, seed: int = 0
) -> list[Measure]:
    """Return what the text encoders of a pipeline cut from its prompts, each prompt counted once.

    - `share_prompts_cut`: by the encoder whose tokenizer `settings.text_encoder` names, and by
      `any`, which is there even if it is 0
    - `tokens_cut_mean`: of the prompts that the encoder cut; by `any`, the most of one encoder

    Args:
        prompts: (prompt, tokens cut by tokenizer), as in the `truncated` of an image's details.
        seed: of the bootstrap.

    Raises:
        UserError: no prompts.
    """
    seen = array("Q")
    lost: dict[str, array[int]] = {ANY: array("q")}
    for prompt, cut in prompts:
        for encoder in cut.keys() - lost.keys():
            lost[encoder] = array("q", bytes(len(seen) * seen.itemsize))
        seen.append(_digest(prompt))
        for encoder, tokens in lost.items():
            tokens.append(cut.get(encoder, 0) if encoder != ANY else max(cut.values(), default=0))
    if not seen:
        raise UserError("captions: no prompts to measure")
    _, first = np.unique(np.asarray(seen), return_index=True)
    found = []
    for encoder, tokens in sorted(lost.items()):
        values: NDArray[np.int64] = np.asarray(tokens)[first]
        values, settings = values[values > 0], {"text_encoder": encoder}
        share = wilson(len(values), len(first))
        found.append(Measure("share_prompts_cut", share, len(first), settings))
        if len(values):
            mean = bootstrap_mean(values, seed=seed)
            found.append(Measure("tokens_cut_mean", mean, len(values), settings))
    return found


def _bare(value: float) -> Interval:
    return Interval(value, math.nan, math.nan)


def _digest(text: str) -> int:
    """64 bits: among a million texts two differing ones agree once in 40 million sets."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


@cache
def _pattern(class_name: str) -> re.Pattern[str] | None:
    names = class_name.replace("’", "'").split(",")
    words = [[re.escape(word) for word in re.split(_GAP, name) if word] for name in names]
    ways = [_GAP.join(name) for name in words if name]
    if not ways:
        return None
    return re.compile(rf"(?<!\w)(?:{'|'.join(ways)})(?:e?s)?(?!\w)", re.IGNORECASE)
