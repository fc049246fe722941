"""Which image, text, timestep and noise each place of a batch gets (paper B, appendices E and F).

All of it comes from the training's seed and the step's number, whatever the number of processes
that share the batch, and so a resumed training repeats what an undisturbed one does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from synthgap.diffusion.encoded import Latents, Texts
from synthgap.diffusion.epochs import Epochs
from synthgap.diffusion.objectives import Objective
from synthgap.errors import UserError
from synthgap.seeds import derive_seed


class Source(NamedTuple):
    """Images, and one or more texts of each: the kinds are drawn from evenly."""

    latents: Latents
    texts: Sequence[Texts]


@dataclass(frozen=True)
class Composites:
    """Composites take an image's place above timestep `above`, with a probability (equation 3)."""

    source: Source
    probability: float
    above: float


@dataclass(frozen=True)
class Crops:
    """A part of the image is learnt from, with a probability (appendix F).

    Attributes:
        smallest: least height and width of a crop, as shares of the image's.
    """

    probability: float
    smallest: float


@dataclass(frozen=True)
class Place:
    """What is drawn for one place of a batch."""

    composite: bool
    row: int
    kind: int  # of the text
    timestep: float
    empty: bool  # whether the text is dropped
    crop: tuple[int, int, int, int] | None  # top, left, height and width in patches
    seed: int  # of the noise
    chance: float  # from 0 to 1, for what a model may do with some places only


class Batch(NamedTuple):
    """A batch on one device; b images, w words at most."""

    clean: Tensor  # (b, channels, height, width)
    noise: Tensor  # of the same shape
    timesteps: Tensor  # (b,)
    text: Tensor  # (b, w, width), of the type that it is stored in
    mask: Tensor  # (b, w), True where there is a word
    chance: Tensor  # (b,), from 0 to 1, see `Place`
    crop: Tensor | None  # (b, 4) top, left, height and width as shares of the image

    def each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """Return a batch of changed tensors."""
        *parts, crop = self
        return Batch._make([*map(change, parts), None if crop is None else change(crop)])


class Mixture:
    """Draws batches of `size` places.

    Args:
        objective: says how timesteps are drawn.
        drop_text: share of texts emptied, which makes guidance possible.
        grid: height and width of an image in patches, which crops are made of.
        resample: draw latents from the autoencoder's posterior, not its mean.
    """

    def __init__(
        self,
        images: Source,
        objective: Objective,
        *,
        size: int,
        drop_text: float,
        seed: int,
        grid: tuple[int, int],
        composites: Composites | None = None,
        crops: Crops | None = None,
        resample: bool = True,
    ) -> None:
        self.images, self.objective, self.size = images, objective, size
        self.drop_text, self.seed, self.grid = drop_text, seed, grid
        self.composites, self.crops, self.resample = composites, crops, resample
        self.rows = _usable(images)
        self.composite_rows = _usable(composites.source) if composites else None
        self.epochs = Epochs(self.rows, seed)

    def places(self, step: int) -> list[Place]:
        """Return what is drawn for a step, from 0: Algorithm 1 of appendix E.

        Images come in a new order each epoch, composites evenly at random.
        """
        rng = Generator().manual_seed(derive_seed(self.seed, "batch", step))
        size = self.size
        timesteps = self.objective.draw(size, rng)
        chance = torch.rand(4, size, generator=rng)
        many = torch.randint(2**62, (6, size), generator=rng)
        places = []
        for i, row in enumerate(self.epochs.step(step, size).tolist()):
            source, composite, timestep = self.images, False, float(timesteps[i])
            if self.composites and self.composite_rows is not None:
                above = timestep > self.composites.above
                composite = above and float(chance[0, i]) < self.composites.probability
                if composite:
                    source = self.composites.source
                    row = int(self.composite_rows[int(many[0, i]) % len(self.composite_rows)])
            kinds = [k for k, texts in enumerate(source.texts) if _has(texts, row)]
            cropped = self.crops is not None and float(chance[1, i]) < self.crops.probability
            places.append(
                Place(
                    composite=composite,
                    row=row,
                    kind=kinds[int(many[1, i]) % len(kinds)],
                    timestep=timestep,
                    empty=float(chance[2, i]) < self.drop_text,
                    crop=self._crop([int(number) for number in many[2:, i]]) if cropped else None,
                    seed=derive_seed(self.seed, "noise", step, i),
                    chance=float(chance[3, i]),
                )
            )
        return places

    def batch(self, places: Sequence[Place]) -> Batch:
        """Read what places name, on the CPU."""
        clean, noise, texts = [], [], []
        for place in places:
            rng = Generator().manual_seed(place.seed)
            source = self.composites.source if place.composite and self.composites else self.images
            shape = source.latents.shape
            noise.append(torch.randn(shape, generator=rng))
            drawn = torch.randn(shape, generator=rng) if self.resample else None
            clean.append(source.latents.read(place.row, drawn))
            chosen = source.texts[place.kind]
            texts.append(chosen.empty if place.empty else chosen.read(place.row))
        words = torch.tensor([len(text) for text in texts])
        crop = None
        if self.crops is not None:
            height, width = self.grid
            whole = (0, 0, height, width)
            patches = torch.tensor([place.crop or whole for place in places], dtype=torch.float32)
            crop = patches / torch.tensor([height, width, height, width])
        return Batch(
            torch.stack(clean),
            torch.stack(noise),
            torch.tensor([place.timestep for place in places]),
            torch.nn.utils.rnn.pad_sequence(texts, batch_first=True),
            torch.arange(int(words.max())) < words[:, None],
            torch.tensor([place.chance for place in places]),
            crop,
        )

    def _crop(self, numbers: Sequence[int]) -> tuple[int, int, int, int]:
        """Return a crop in whole patches, its sides and then its place drawn evenly."""
        assert self.crops is not None
        sides, places = [], []
        for patches, side, place in zip(self.grid, numbers[:2], numbers[2:], strict=True):
            least = max(1, int(np.ceil(self.crops.smallest * patches)))
            sides.append(least + side % (patches - least + 1))
            places.append(place % (patches - sides[-1] + 1))
        return (places[0], places[1], sides[0], sides[1])


def _has(texts: Texts, row: int) -> bool:
    file, at = texts.place(row)
    return bool(texts.text_of[file][at] >= 0)


def _usable(source: Source) -> NDArray[np.int64]:
    """Return the rows that have a text of any kind.

    Raises:
        UserError: latents and texts are not of the same images, or none has a text.
    """
    for texts in source.texts:
        for i, (keys, others) in enumerate(
            zip_longest(source.latents.keys_of, texts.keys_of, fillvalue=None)
        ):
            if keys != others:
                raise UserError(
                    f"{texts.paths[min(i, len(texts.paths) - 1)]} is not of the images of "
                    f"{source.latents.paths[min(i, len(source.latents.paths) - 1)]}; delete both "
                    "and run snakemake again"
                )
    rows = np.flatnonzero(np.any([texts.has() for texts in source.texts], axis=0))
    if not len(rows):
        raise UserError(
            f"{source.texts[0].paths[0]}: no image has a text; the caption tables' column "
            "`status` tells why"
        )
    return rows
