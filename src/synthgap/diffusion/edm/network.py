"""DDPM++, the U-Net of EDM's experiments on CIFAR-10 and FFHQ, told labels and augmentations.

Its structure is that of Song et al. (2021, "Score-based generative modeling through stochastic
differential equations", appendix H) as EDM's table 7 sets it: residual blocks of BigGAN's kind,
skips scaled by sqrt(1/2), one head of attention at 16 x 16, a positional embedding of the noise.
The defaults are CIFAR-10's: 55.7 million weights.
"""

from collections.abc import Sequence
from math import log, sqrt

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional

EMBEDDING = 4  # width of the embedding, in channels of the first level
SKIP_SCALE = sqrt(0.5)


class EDMUNet(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """F of `preconditioning`, unconditional or told an image's source, class, or both.

    As appendix A.2 of paper D has it, the source label becomes a vector (of `channels`, 128 there),
    and two layers with SiLU make 512 of it. Here, as EDM does with class labels, the vectors of
    noise level, source, class and augmentation are added before those two layers, which they share.

    Args:
        sample_size: side of the images.
        channels: of the first level; `multipliers` has those of each level, as multiples.
        blocks: residual blocks a level, on the way down; one more on the way up.
        attention: sides at which blocks have self-attention.
        sources: how many source labels there are; 0: it is not told.
        classes: the same of classes.
        augmentation: how many numbers say how an image was augmented; 0: it is not told.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        sample_size: int = 32,
        in_channels: int = 3,
        channels: int = 128,
        multipliers: Sequence[int] = (2, 2, 2),
        blocks: int = 4,
        attention: Sequence[int] = (16,),
        dropout: float = 0.13,
        sources: int = 0,
        classes: int = 0,
        augmentation: int = 9,
    ) -> None:
        super().__init__()
        if sample_size % 2 ** (len(multipliers) - 1):
            raise ValueError(
                f"multipliers: {len(multipliers)} levels need a side that {len(multipliers) - 1} "
                f"halvings leave whole, not {sample_size}"
            )
        width = EMBEDDING * channels
        self.noise = NoiseEmbedding(channels)
        self.embedding = nn.Sequential(
            nn.Linear(channels, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        sides = [sample_size // 2**level for level in range(len(multipliers))]
        widths = [channels * multiple for multiple in multipliers]

        def block(into: int, out: int, **options: bool) -> Block:
            return Block(into, out, width, dropout, **options)

        self.into = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.down, kept, last = nn.ModuleList(), [channels], channels
        for side, out in zip(sides, widths, strict=True):
            if side != sample_size:
                self.down.append(block(last, last, down=True))
                kept.append(last)
            for _ in range(blocks):
                self.down.append(block(last, out, attention=side in attention))
                kept.append(out)
                last = out
        self.middle = nn.ModuleList([block(last, last, attention=True), block(last, last)])
        self.up = nn.ModuleList()
        for side, out in zip(reversed(sides), reversed(widths), strict=True):
            if side != sides[-1]:
                self.up.append(block(last, last, up=True))
            for number in range(blocks + 1):
                seen = side in attention and number == blocks
                self.up.append(block(last + kept.pop(), out, attention=seen))
                last = out
        self.norm = normalised(last)
        self.out = nn.Conv2d(last, in_channels, 3, padding=1)
        initialise(self)
        # Last, so that with the same random numbers all else begins alike, told or not.
        self.augmented = embedding(augmentation, channels)
        self.label = embedding(classes, channels)
        self.source = embedding(sources, channels)

    def forward(
        self,
        image: Tensor,
        noise: Tensor,
        source: Tensor | None = None,
        label: Tensor | None = None,
        augmented: Tensor | None = None,
    ) -> Tensor:
        """Return F (n, channels, height, width).

        Args:
            image: (n, channels, height, width), scaled by c_in.
            noise: (n,), c_noise.
            source, label: (n,) whole numbers; 0 if left out, and unread where there are no labels.
            augmented: (n, augmentation) of `augmentation.augment`; zeros, an image as it is, if
                left out.
        """
        dtype = self.into.weight.dtype
        vector = self.noise(noise.float()).to(dtype)
        for known, of in ((self.source, source), (self.label, label)):
            if known is not None:
                vector = vector + known(one_hot(vector, of, known.in_features))
        if self.augmented is not None and augmented is not None:
            vector = vector + self.augmented(augmented.to(vector))
        vector = self.embedding(vector)
        image = self.into(image.to(dtype))
        kept = [image]
        for block in self.down:
            image = block(image, vector)
            kept.append(image)
        for block in self.middle:
            image = block(image, vector)
        for block in self.up:
            if not block.is_up:
                image = torch.cat([image, kept.pop()], dim=1)
            image = block(image, vector)
        found: Tensor = self.out(functional.silu(self.norm(image)))
        return found


def initialise(network: nn.Module) -> None:
    """Xavier's uniform weights; what ends a residual branch, or a network, begins as zero."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in network.modules():
        if isinstance(module, Block):
            nn.init.zeros_(module.second.weight)
        elif isinstance(module, SelfAttention | EDMUNet):
            nn.init.zeros_(module.out.weight)


def embedding(numbers: int, width: int) -> nn.Linear | None:
    """Return what makes a vector of so many numbers; None of none."""
    if not numbers:
        return None
    layer = nn.Linear(numbers, width, bias=False)
    initialise(layer)
    return layer


def one_hot(like: Tensor, labels: Tensor | None, count: int) -> Tensor:
    """Return labels (n,) as vectors (n, count) of mean square 1."""
    if labels is None:
        labels = torch.zeros(len(like), dtype=torch.long, device=like.device)
    return functional.one_hot(labels, count).to(like.dtype) * sqrt(count)


class NoiseEmbedding(nn.Module):
    """Cosines and sines of c_noise at frequencies from 1 down to 1 / 10 000, as in transformers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        rates = torch.arange(half, dtype=torch.float32) / max(half - 1, 1)
        self.register_buffer("rates", (-log(10_000) * rates).exp(), persistent=False)
        self.rates: Tensor

    def forward(self, noise: Tensor) -> Tensor:
        """Return vectors (n, width) of c_noise (n,)."""
        angles = noise[:, None] * self.rates
        return torch.cat([angles.cos(), angles.sin()], dim=1)


class Block(nn.Module):
    """Two convolutions, the embedding added between them; self-attention behind if asked for."""

    def __init__(
        self,
        into: int,
        out: int,
        width: int,
        dropout: float,
        *,
        up: bool = False,
        down: bool = False,
        attention: bool = False,
    ) -> None:
        super().__init__()
        self.is_up, self.is_down = up, down
        self.norm = normalised(into)
        self.first = nn.Conv2d(into, out, 3, padding=1)
        self.told = nn.Linear(width, out)
        self.second_norm = normalised(out)
        self.dropout = nn.Dropout(dropout)
        self.second = nn.Conv2d(out, out, 3, padding=1)
        changes = into != out or up or down
        self.skip = nn.Conv2d(into, out, 1) if changes else nn.Identity()
        self.attention = SelfAttention(out) if attention else nn.Identity()

    def forward(self, image: Tensor, vector: Tensor) -> Tensor:
        """Return (n, out, height, width), twice or half as large where the block scales."""
        inner = self._scaled(functional.silu(self.norm(image)))
        inner = self.first(inner) + self.told(vector)[:, :, None, None]
        inner = self.second(self.dropout(functional.silu(self.second_norm(inner))))
        image = (self.skip(self._scaled(image)) + inner) * SKIP_SCALE
        scaled: Tensor = self.attention(image)
        return scaled

    def _scaled(self, image: Tensor) -> Tensor:
        if self.is_up:
            return functional.interpolate(image, scale_factor=2, mode="nearest")
        return functional.avg_pool2d(image, 2) if self.is_down else image


class SelfAttention(nn.Module):
    """Each place reads all others, with one head; added to what it is of."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = normalised(channels)
        self.read = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return (n, channels, height, width)."""
        query, key, value = (
            part.flatten(2).transpose(1, 2) for part in self.read(self.norm(image)).chunk(3, dim=1)
        )
        read = functional.scaled_dot_product_attention(query, key, value)
        added: Tensor = (image + self.out(read.transpose(1, 2).reshape(image.shape))) * SKIP_SCALE
        return added


def normalised(channels: int) -> nn.GroupNorm:
    """Return a group norm of 32 groups, or of fewer with four channels each at least."""
    groups = max(1, min(32, channels // 4))
    while channels % groups:
        groups -= 1
    return nn.GroupNorm(groups, channels, eps=1e-6)
