"""Files of what a denoiser learns from: latents of a shard's images, and its texts as embeddings.

Both are safetensors, read by offset and never whole; a row stands for the image of the same key.

Latents: `mean` and `std` (n, channels, height, width) of the autoencoder's posterior, so that
training can draw from it. Texts: the embeddings of each text that occurs, without padding, one
after the other in `tokens` (words, width), text i from `starts[i]` to `starts[i + 1]`; `text_of`
(n,) is each image's text, -1 where it has none; `empty` (words, width) is the empty prompt.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from synthgap.atomic import atomic_path
from synthgap.errors import UserError

# Types of embeddings, and what safetensors calls them.
STORED = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}


def write_latents(path: Path, keys: Sequence[str], mean: Tensor, std: Tensor) -> None:
    """Write the latents of a shard, (n, channels, height, width) each."""
    tensors = {"mean": mean.contiguous(), "std": std.contiguous()}
    with atomic_path(path) as part:
        save_file(tensors, part, metadata={"keys": json.dumps(list(keys))})


def write_texts(
    path: Path,
    keys: Sequence[str],
    text_of: NDArray[np.int64],
    texts: Iterable[Tensor],
    words: Sequence[int],
    empty: Tensor,
) -> None:
    """Write the texts of a shard as they come: embeddings of long texts do not fit into memory.

    Args:
        text_of: (n,) number of each image's text, -1 for none.
        texts: embeddings (words, width) of each, of the type of `empty`.
        words: how many words each text has.
        empty: embeddings (words, width) of the empty prompt.
    """
    starts = np.cumsum([0, *words], dtype=np.int64)
    width, kind = empty.shape[1], STORED[empty.dtype]
    sizes = {
        "text_of": ("I64", [len(text_of)], text_of.astype(np.int64).tobytes()),
        "starts": ("I64", [len(starts)], starts.tobytes()),
        "empty": (kind, list(empty.shape), _bytes(empty)),
    }
    header: dict[str, Any] = {"__metadata__": {"keys": json.dumps(list(keys))}}
    end = 0
    for name, (dtype, shape, content) in sizes.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + len(content)]}
        end += len(content)
    length = int(starts[-1]) * width * empty.element_size()
    header["tokens"] = {
        "dtype": kind,
        "shape": [int(starts[-1]), width],
        "data_offsets": [end, end + length],
    }
    told = json.dumps(header).encode()
    told += b" " * (-len(told) % 8)  # tensors begin at multiples of eight bytes
    with atomic_path(path) as part, part.open("wb") as file:
        file.write(len(told).to_bytes(8, "little") + told)
        for _, _, content in sizes.values():
            file.write(content)
        for number, (text, count) in enumerate(zip(texts, words, strict=True)):
            if text.shape != (count, width) or text.dtype != empty.dtype:
                raise ValueError(f"text {number} is {tuple(text.shape)} of {text.dtype}")
            file.write(_bytes(text))


def _bytes(tensor: Tensor) -> bytes:
    return tensor.contiguous().view(torch.uint8).numpy().tobytes()


class _Shards:
    """Rows of several files one after the other; files stay open, their contents on the disk."""

    def __init__(self, paths: Sequence[Path], names: set[str]) -> None:
        self.paths = [Path(path) for path in paths]
        self._files = [_open(path, names) for path in self.paths]
        self.keys_of = [json.loads(file.metadata()["keys"]) for file in self._files]
        self.first = np.cumsum([0, *(len(keys) for keys in self.keys_of)])

    def __len__(self) -> int:
        return int(self.first[-1])

    def place(self, row: int) -> tuple[int, int]:
        """Return the file of a row and its number there."""
        file = int(np.searchsorted(self.first, row, side="right")) - 1
        return file, row - int(self.first[file])


class Latents(_Shards):
    """The latents of all images of a source, scaled as a denoiser is to see them.

    Args:
        scale: the autoencoder's `scaling_factor`. Its `shift_factor`, where it has one, is left
            out, as `PixArtAlphaPipeline` knows of none when it decodes.
    """

    def __init__(self, paths: Sequence[Path], scale: float = 1.0) -> None:
        super().__init__(paths, {"mean", "std"})
        self.scale = scale
        self._mean = [file.get_slice("mean") for file in self._files]
        self._std = [file.get_slice("std") for file in self._files]
        self.shape = tuple(self._mean[0].get_shape()[1:])

    def read(self, row: int, noise: Tensor | None) -> Tensor:
        """Return latents (channels, height, width), float32: the mean, or drawn by `noise`."""
        file, at = self.place(row)
        latents: Tensor = self._mean[file][at].float()
        if noise is not None:
            latents = latents + self._std[file][at].float() * noise
        return latents * self.scale


class Texts(_Shards):
    """The texts of all images of a source, of one kind."""

    def __init__(self, paths: Sequence[Path]) -> None:
        super().__init__(paths, {"text_of", "starts", "tokens", "empty"})
        self._starts = [file.get_tensor("starts").tolist() for file in self._files]
        self._tokens = [file.get_slice("tokens") for file in self._files]
        self.text_of = [file.get_tensor("text_of").tolist() for file in self._files]
        self.empty: Tensor = self._files[0].get_tensor("empty")

    def has(self) -> NDArray[np.bool_]:
        """Return which rows have a text, (n,)."""
        return np.concatenate([np.asarray(numbers) >= 0 for numbers in self.text_of])

    def read(self, row: int) -> Tensor:
        """Return the embeddings (words, width) of a row's text, of the type they are stored in."""
        file, at = self.place(row)
        text = self.text_of[file][at]
        if text < 0:
            raise ValueError(f"{self.keys_of[file][at]} has no text in {self.paths[file]}")
        start, end = self._starts[file][text : text + 2]
        tokens: Tensor = self._tokens[file][start:end]
        return tokens


def _open(path: Path, names: set[str]) -> Any:
    try:
        file = safe_open(path, framework="pt")
        found: set[str] = set(file.keys())  # type: ignore[no-untyped-call]
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path} is damaged ({error}); delete it and run snakemake again"
        ) from error
    if found != names:
        raise UserError(
            f"{path} holds {', '.join(sorted(found))} and not {', '.join(sorted(names))}: it was "
            "made by another rule"
        )
    return file
