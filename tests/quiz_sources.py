"""Two small sources of images for tests of the quiz."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from synthgap.data.shards import Sample, ShardWriter, gather


def write_source(
    folder: Path,
    classes: Sequence[str],
    each: int,
    *,
    size: int = 8,
    seed: int = 0,
    copies: int = 0,
    shards: int = 1,
    flat: bool = False,
) -> Path:
    """Write a manifest of noise, `each` images a class; returns its path.

    flat: each image has one colour.
    copies: how many crops of each image there are; 0: the images themselves.
    """
    rng = np.random.default_rng(seed)
    samples = []
    for label, name in enumerate(classes):
        for number in range(each):
            key = f"{folder.name}-{name}-{number}"
            if not copies:
                samples.append(Sample(key, label, name))
            for copy in range(copies):
                samples.append(Sample(f"{key}-{copy}", label, name, details={"copy": copy}))
    images = rng.integers(0, 256, (len(samples), size, size, 3)).astype(np.uint8)
    if flat:
        images[:] = images[:, :1, :1]
    tars = [folder / f"{number:05d}.tar" for number in range(shards)]
    for number, tar in enumerate(tars):
        with ShardWriter(tar, "png") as writer:
            for sample, image in list(zip(samples, images, strict=True))[number::shards]:
                writer.add(sample, image)
    gather(tars, folder / "manifest.parquet")
    return folder / "manifest.parquet"
