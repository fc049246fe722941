"""Latents and texts that are made on the spot."""

from pathlib import Path

import numpy as np
import torch

from synthgap.diffusion.encoded import Latents, Texts, write_latents, write_texts
from synthgap.diffusion.mixture import Source

TEXT_WIDTH, CHANNELS, SIDE = 16, 4, 8


def made_up(
    folder: Path,
    counts: tuple[int, ...] = (5, 3),
    kinds: int = 1,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Source:
    """Images in shards, each with a text of its own length; every fourth has none of kind 0.

    Texts are of numbers that bfloat16 holds, whatever they are stored in.
    """
    rng = torch.Generator().manual_seed(seed)
    latents, texts = [], [[] for _ in range(kinds)]
    for shard, count in enumerate(counts):
        keys = [f"{shard}-{i}" for i in range(count)]
        latents.append(folder / f"latents-{shard}.safetensors")
        shape = (count, CHANNELS, SIDE, SIDE)
        mean = torch.randn(shape, generator=rng)
        write_latents(latents[-1], keys, mean, torch.full(shape, 1e-3))
        for kind in range(kinds):
            known = [i for i in range(count) if kind or i % 4 != 3]
            text_of = np.full(count, -1)
            text_of[known] = np.arange(len(known))
            words = [torch.randn(2 + i % 3, TEXT_WIDTH, generator=rng) for i in known]
            words = [text.bfloat16().to(dtype) for text in words]
            texts[kind].append(folder / f"texts-{kind}-{shard}.safetensors")
            empty = torch.full((1, TEXT_WIDTH), 9.0, dtype=dtype)
            write_texts(texts[kind][-1], keys, text_of, words, list(map(len, words)), empty)
    return Source(Latents(latents), [Texts(paths) for paths in texts])
