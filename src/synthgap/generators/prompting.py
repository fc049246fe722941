"""Prompts on their way into a pipeline: encoded once where they repeat, counted where cut."""

import inspect
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

# Embeddings kept, in bytes of host memory. Two hundred class names of Flux take 0.9 GB.
CACHE_BYTES = 4 * 2**30


class TruncationCounter:
    """Count the tokens that an encoder's tokenizer cuts from the prompts of a batch.

    It looks at what the pipeline's own calls of its tokenizers return: the text there has the
    family's template, and the limit is the one that the pipeline passes. Neither the tokenizer's
    own marks, such as CLIP's end of text, nor a template's words behind the prompt count.
    """

    def __init__(self, pipeline: Any, max_sequence_length: int | None) -> None:
        self.prompts: Sequence[str] = []
        self.cut: list[dict[str, int]] = []
        self.calls: dict[str, int] = {}
        # Qwen-Image lets its tokenizer read more than it then keeps, behind its template.
        template = getattr(pipeline, "prompt_template_encode_start_idx", None)
        self.most = None if template is None else template + (max_sequence_length or 0)
        for name, component in pipeline.components.items():
            tokenizer = getattr(component, "tokenizer", component)  # a processor holds one
            if isinstance(tokenizer, PreTrainedTokenizerBase):
                self._watch(tokenizer, name)

    def start(self, prompts: Sequence[str]) -> None:
        """Begin a batch of prompts."""
        self.prompts = prompts
        self.cut = [{} for _ in prompts]
        self.calls = {}

    def found(self) -> list[dict[str, int]]:
        """Return, for each prompt of the batch, the tokens cut from it, by tokenizer that cut."""
        return [dict(sorted(lost.items())) for lost in self.cut]

    def add(self, i: int, lost: dict[str, int]) -> None:
        """Note what the i-th prompt loses; of several calls of a tokenizer the most counts."""
        for name, tokens in lost.items():
            self.cut[i][name] = max(tokens, self.cut[i].get(name, 0))

    def _watch(self, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
        plain = type(tokenizer)

        def call(watched: Any, *args: Any, **kwargs: Any) -> Any:
            encoded = plain.__call__(watched, *args, **kwargs)
            texts = args[0] if args else kwargs.get("text", [])
            texts = [texts] if isinstance(texts, str) else texts
            self._count(name, texts, encoded.encodings or ())
            return encoded

        # Python looks `__call__` up in the class, so the object gets a class of its own.
        tokenizer.__class__ = type(plain.__name__, (plain,), {"__call__": call})

    def _count(self, name: str, texts: Sequence[str], encodings: Sequence[Any]) -> None:
        n = len(self.cut)
        # Some families tokenize the prompts of a batch one after the other.
        first = self.calls.get(name, 0) % n if n and len(encodings) == 1 else 0
        self.calls[name] = self.calls.get(name, 0) + 1
        given = zip(self.prompts[first:], texts, encodings, strict=False)
        for i, (prompt, text, encoding) in enumerate(given, first):
            if lost := self._lost(prompt, text, encoding):
                self.add(i, {name: lost})

    def _lost(self, prompt: str, text: str, encoding: Any) -> int:
        """Return how many of the prompt's tokens the encoder does not read."""
        lost = [token for piece in encoding.overflowing for token in _starts(piece)]
        if self.most is not None:
            lost += _starts(encoding)[self.most :]
        if not lost:
            return 0
        # A family may have changed the prompt itself; then it has nothing behind it.
        end = text.rfind(prompt) + len(prompt) if prompt in text else len(text)
        return sum(start < end for start in lost)


def _starts(encoding: Any) -> list[int]:
    """Return where in the text the tokens start, without padding and the tokenizer's marks."""
    marks = zip(
        encoding.offsets, encoding.attention_mask, encoding.special_tokens_mask, strict=True
    )
    return [start for (start, _), read, special in marks if read and not special]


class PromptCache:
    """Encode each repeated prompt once, by standing in for the pipeline's `encode_prompt`.

    A repeated prompt is always encoded alone, so that its embedding does not depend on when the
    job was last started. Prompts that come only once are encoded with their batch, as ever.
    Embeddings wait in host memory, the least recently used leave first.
    """

    def __init__(
        self, pipeline: Any, repeated: Iterable[str], truncation: TruncationCounter
    ) -> None:
        self.pipeline, self.encode = pipeline, pipeline.encode_prompt
        self.signature = inspect.signature(self.encode)
        self.repeated, self.truncation = frozenset(repeated), truncation
        self.kept: OrderedDict[str, tuple[Any, dict[str, int]]] = OrderedDict()
        self.bytes = 0
        pipeline.encode_prompt = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Do what `encode_prompt` does."""
        given = self.signature.bind(*args, **kwargs).arguments
        prompts = given.get("prompt")
        if not isinstance(prompts, list) or not self._repeat(prompts):
            return self.encode(*args, **kwargs)
        whole, cut = self.truncation.prompts, self.truncation.cut
        encoded = [
            self._encode_alone(_only(given, i, len(prompts)), whole[i]) for i in range(len(prompts))
        ]
        self.truncation.prompts, self.truncation.cut = whole, cut
        for i, (_, lost) in enumerate(encoded):
            self.truncation.add(i, lost)
        found = [embedding for embedding, _ in encoded]
        return _to(_join(found), given.get("device") or self.pipeline._execution_device)

    def _repeat(self, prompts: Sequence[str]) -> bool:
        return not self.repeated.isdisjoint(prompts) or len(set(prompts)) < len(prompts)

    def _encode_alone(self, given: dict[str, Any], prompt: str) -> tuple[Any, dict[str, int]]:
        key = repr(sorted(given.items()))
        if key in self.kept:
            self.kept.move_to_end(key)
        else:
            self.truncation.start([prompt])
            embedding = _to(self.encode(**given), "cpu")
            self.kept[key] = embedding, self.truncation.found()[0]
            self.bytes += _bytes(embedding)
            while self.bytes > CACHE_BYTES and len(self.kept) > 1:
                _, (old, _) = self.kept.popitem(last=False)
                self.bytes -= _bytes(old)
        return self.kept[key]


def _only(given: dict[str, Any], i: int, n: int) -> dict[str, Any]:
    """Return a batch's arguments for its i-th prompt alone."""
    return {
        name: [value[i]] if "prompt" in name and isinstance(value, list) and len(value) == n
        else value
        for name, value in given.items()
    }  # fmt: skip


def _join(items: Sequence[Any]) -> Any:
    """Put embeddings of single prompts together as `encode_prompt` returns those of a batch."""
    first = items[0]
    if isinstance(first, tuple):
        parts = [list(part) for part in zip(*items, strict=True)]
        # Where lengths differ, the shorter are padded; a mask that no single prompt needed is then.
        if len(parts) == 2 and all(part is None for part in parts[1]):
            lengths = [len(part[0]) for part in parts[0] if isinstance(part, torch.Tensor)]
            if len(set(lengths)) > 1:
                parts[1] = [torch.ones(part.shape[:2], dtype=torch.long) for part in parts[0]]
        return tuple(_join(part) for part in parts)
    if isinstance(first, list):
        return [one for item in items for one in item]
    if not isinstance(first, torch.Tensor) or first.shape[0] != 1:
        return first  # the same for all prompts: nothing, or the positions of the tokens
    longest = max(item.shape[1] for item in items) if first.dim() > 1 else 0
    return torch.cat([_pad(item, longest) for item in items])


def _pad(tensor: torch.Tensor, length: int) -> torch.Tensor:
    if tensor.dim() == 1 or tensor.shape[1] == length:
        return tensor
    padded = tensor.new_zeros(1, length, *tensor.shape[2:])
    padded[:, : tensor.shape[1]] = tensor
    return padded


def _to(value: Any, device: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, list | tuple):
        return type(value)(_to(one, device) for one in value)
    return value


def _bytes(value: Any) -> int:
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    return sum(map(_bytes, value)) if isinstance(value, list | tuple) else 0
