"""Small vocabularies in the families' own tokenizer classes."""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import transformers
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerBase

# The instructions that QwenImage and Ovis-Image put before a prompt are cut off again after 34
# and 28 tokens, so each of their words must be one token, as in the real vocabulary.
TEMPLATE_WORDS = [
    "system", "user", "assistant", "Describe", "the", "image", "by", "detailing", "color",
    "shape", "size", "texture", "quantity", "text", "spatial", "relationships", "of", "objects",
    "and", "background",
]  # fmt: skip
WORDS = [
    "a", "an", "photo", "picture", "of", "with", "in", "on", "and", "two", "small", "large",
    "old", "red", "green", "blue", "black", "white", "cat", "dog", "fish", "bird", "bear",
    "goldfish", "shark", "hen", "owl", "church", "parachute", "golf", "ball", "guitar",
    "retriever", "golden", "tench", "truck", "castle", "water", "grass", "sky", "tree",
    "street", "table", "dark", "bright",
]  # fmt: skip
BYTES = sorted(ByteLevel.alphabet())  # one character for each byte; no text is unknown to them
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content "
    "+ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Qwen3 shows that thinking is off by an empty thought.
CHATML_THINKING = CHATML.replace(
    "assistant\n' }}",
    "assistant\n' }}{% if enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}",
)
MISTRAL_CHAT = (
    "{{ bos_token }}{% for message in messages %}"
    "{% set mark = 'SYSTEM_PROMPT' if message.role == 'system' else 'INST' %}"
    "{{ '[' + mark + ']' }}{% for part in message.content %}"
    "{{ part.text if part.type == 'text' else '[IMG]' }}{% endfor %}{{ '[/' + mark + ']' }}"
    "{% endfor %}"
)


def merge_words(words: Iterable[Sequence[str]]) -> list[tuple[str, str]]:
    """Return byte-pair merges after which each word, given as its symbols, is one token."""
    rank: dict[tuple[str, str], int] = {}
    for word in words:
        symbols = list(word)
        while len(symbols) > 1:
            pairs = list(pairwise(symbols))
            # As the tokenizer does: the pair of lowest rank first. A new merge ranks behind all
            # others, so it cannot break an earlier word apart.
            i = min(range(len(pairs)), key=lambda i: (rank.get(pairs[i], math.inf), i))
            rank.setdefault(pairs[i], len(rank))
            symbols[i : i + 2] = ["".join(pairs[i])]
    return list(rank)


def vocabulary(symbols: Sequence[str], merges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Number the single symbols, then what merges make of them."""
    return {token: i for i, token in enumerate(dict.fromkeys([*symbols, *map("".join, merges)]))}


def clip_tokenizer(pad: str = "<|endoftext|>") -> PreTrainedTokenizerBase:
    """Byte pairs within words, lower case, cut at 77 tokens."""
    merges = merge_words([*word[:-1], word[-1] + "</w>"] for word in WORDS)
    symbols = [*BYTES, *(byte + "</w>" for byte in BYTES)]
    vocab = vocabulary(symbols, merges)
    for special in ("<|startoftext|>", "<|endoftext|>"):  # last, as in the real vocabulary
        vocab[special] = len(vocab)
    # Without model_max_length the pipelines would pad to 1e30 tokens.
    return transformers.CLIPTokenizer(
        vocab=vocab, merges=merges, pad_token=pad, model_max_length=77
    )


def t5_tokenizer() -> PreTrainedTokenizerBase:
    """Sentence pieces: whole words, else characters of ASCII."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0), ("▁", -4.0)]
    # A whole word must score above the sum of its characters.
    pieces += [("▁" + word, -2.0) for word in WORDS]
    pieces += [(chr(code), -10.0) for code in range(33, 127)]
    return transformers.T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=512)


def gemma_tokenizer() -> PreTrainedTokenizerBase:
    """Pairs of characters, where a word begins with its space; other characters fall to bytes."""
    merges = merge_words("▁" + word for word in [*TEMPLATE_WORDS, *WORDS])
    specials = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    characters = ["▁", "\n", *(chr(code) for code in range(33, 127))]
    symbols = [*specials, *(f"<0x{byte:02X}>" for byte in range(256)), *characters]
    # Without add_bos_token an empty prompt would be nothing but padding.
    return transformers.GemmaTokenizer(
        vocab=vocabulary(symbols, merges), merges=merges, add_bos_token=True
    )


def byte_tokenizer(
    marks: Sequence[str], chat: str, pad: str, **options: Any
) -> PreTrainedTokenizerBase:
    """Byte pairs of any text, with the marks of a chat template, as Qwen's and Mistral's."""
    words = [*TEMPLATE_WORDS, *WORDS]
    merges = merge_words([*words, *("Ġ" + word for word in words)])  # Ġ: the byte of a space
    tokenizer = transformers.Qwen2Tokenizer(
        vocab=vocabulary(BYTES, merges),
        merges=merges,
        unk_token=pad,
        eos_token=pad,
        pad_token=pad,
        **options,
    )
    tokenizer.add_special_tokens({"additional_special_tokens": list(marks)})
    tokenizer.chat_template = chat
    return tokenizer


def qwen_tokenizer(chat: str = CHATML_THINKING) -> PreTrainedTokenizerBase:
    """Qwen2's and Qwen3's kind."""
    marks = ["<|im_start|>", "<|im_end|>", "<|image_pad|>", "<|video_pad|>", "<think>", "</think>"]
    return byte_tokenizer(marks, chat, pad="<|endoftext|>", model_max_length=131072)


def mistral_processor() -> transformers.PixtralProcessor:
    """Text and image processor of Mistral Small 3."""
    marks = ["[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"]
    marks += ["[IMG]", "[IMG_BREAK]", "[IMG_END]"]
    tokenizer = byte_tokenizer(marks, MISTRAL_CHAT, pad="<pad>", bos_token="<s>")
    return transformers.PixtralProcessor(
        transformers.PixtralImageProcessor(), tokenizer, chat_template=MISTRAL_CHAT
    )
