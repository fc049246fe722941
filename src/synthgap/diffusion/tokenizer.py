"""A word-level tokenizer, made from the prompts that a model is trained on."""

import re
from collections import Counter
from collections.abc import Iterable

from transformers import PreTrainedTokenizerBase, T5Tokenizer

WORD_START = "▁"  # the sentencepiece mark of a word's first piece


def make_tokenizer(texts: Iterable[str], max_length: int) -> PreTrainedTokenizerBase:
    """Return a T5 tokenizer whose pieces are the words of `texts`, then single characters.

    Words that `texts` do not hold fall apart into characters, so no prompt is refused. Texts are
    lower-cased, as the PixArt pipeline does with prompts.
    """
    words: Counter[str] = Counter()
    for text in texts:
        words.update(re.findall(r"\w+|[^\w\s]", text.lower()))
    characters = sorted(set("abcdefghijklmnopqrstuvwxyz0123456789" + "".join(words)))
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0), (WORD_START, -4.0)]
    # A whole word must score above the sum of its characters.
    pieces += [(WORD_START + word, -2.0) for word in sorted(words)]
    pieces += [(character, -10.0) for character in characters]
    return T5Tokenizer(
        vocab=pieces, extra_ids=0, model_max_length=max_length, eos_token="</s>", unk_token="<unk>"
    )
