"""What the denoisers of paper B share: attention, timesteps, positions, and the text's own layers.

Tokens are (batch, tokens, width); masks are True where a token may be attended to.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TIMESTEPS = 1000  # timesteps run from 0, the image, to here, noise alone


class Attention(nn.Module):
    """Multi-head attention, with queries and keys normalised a head where `qk_norm` says so.

    The norm is the root-mean-square norm of Stable Diffusion 3 (Esser et al. 2024, section 5.3.2).
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        from_width: int | None = None,
        inner: int | None = None,
        qk_norm: bool = True,
    ) -> None:
        super().__init__()
        inner = inner or width
        if inner % heads:
            raise ValueError(f"{heads} heads do not divide a width of {inner}")
        self.heads = heads
        self.query = nn.Linear(width, inner)
        self.key_value = nn.Linear(from_width or width, 2 * inner)
        self.out = nn.Linear(inner, width)
        head = inner // heads
        self.query_norm = nn.RMSNorm(head, eps=1e-6) if qk_norm else nn.Identity()
        self.key_norm = nn.RMSNorm(head, eps=1e-6) if qk_norm else nn.Identity()

    def forward(
        self, to: Tensor, source: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Let each token of `to` read `source`, or each other; `mask` (batch, tokens of source)."""
        source = to if source is None else source
        query = self._heads(self.query(to))
        key, value = (self._heads(part) for part in self.key_value(source).chunk(2, dim=-1))
        read = F.scaled_dot_product_attention(
            self.query_norm(query),
            self.key_norm(key),
            value,
            attn_mask=None if mask is None else mask[:, None, None, :],
        )
        merged: Tensor = self.out(read.transpose(1, 2).flatten(2))
        return merged

    def _heads(self, tokens: Tensor) -> Tensor:
        heads: Tensor = tokens.unflatten(-1, (self.heads, -1))
        return heads.transpose(1, 2)


def mlp(width: int, expansion: int) -> nn.Sequential:
    """Return a perceptron of one hidden layer, `expansion` times as wide."""
    return nn.Sequential(
        nn.Linear(width, expansion * width),
        nn.GELU(approximate="tanh"),
        nn.Linear(expansion * width, width),
    )


class LayerScale(nn.Module):
    """A learned factor a channel on what a layer adds (Touvron et al. 2021, CaiT)."""

    def __init__(self, width: int, start: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.full((width,), start))

    def forward(self, added: Tensor) -> Tensor:
        """Scale each channel."""
        return added * self.factor


class TimestepEmbedding(nn.Module):
    """Sines and cosines of the timestep (Ho et al. 2020), and a perceptron on them."""

    def __init__(self, width: int, frequencies: int = 256) -> None:
        super().__init__()
        self.first = nn.Linear(frequencies, width)
        self.second = nn.Linear(width, width)

    def forward(self, timestep: Tensor) -> Tensor:
        """Embed timesteps (batch,) of 0 to 1000 as (batch, width)."""
        waves = sinusoid(timestep.float(), self.first.in_features).to(self.first.weight.dtype)
        embedded: Tensor = self.second(F.silu(self.first(waves)))
        return embedded


def sinusoid(values: Tensor, channels: int, longest: float = 10_000.0) -> Tensor:
    """Return cosines, then sines, of values (n,) as (n, channels), wavelengths up to `longest`."""
    half = channels // 2
    step = -math.log(longest) / half
    rates = torch.exp(step * torch.arange(half, dtype=torch.float32, device=values.device))
    angles = values[:, None] * rates
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def grid_positions(width: int, height: int, across: int, base: int) -> Tensor:
    """Return fixed positions of a grid of patches, (height * across, width), a half for each axis.

    The grid always spans `base` units, so that a model that learnt at one resolution finds the
    parts of a larger image where it knows them (PixArt-alpha's interpolation).
    """
    rows = torch.arange(height, dtype=torch.float32) * (base / height)
    columns = torch.arange(across, dtype=torch.float32) * (base / across)
    half = width // 2
    of_rows = sinusoid(rows, half)[:, None].expand(-1, across, -1)
    of_columns = sinusoid(columns, half)[None].expand(height, -1, -1)
    return torch.cat([of_rows, of_columns], dim=-1).flatten(0, 1)


class TextBlock(nn.Module):
    """Self-attention and a perceptron, each scaled."""

    def __init__(self, width: int, heads: int, expansion: int, scale: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, eps=1e-6)
        self.attention = Attention(width, heads)
        self.attention_scale = LayerScale(width, scale)
        self.mlp_norm = nn.LayerNorm(width, eps=1e-6)
        self.mlp = mlp(width, expansion)
        self.mlp_scale = LayerScale(width, scale)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return tokens that have read those of the mask."""
        read = self.attention(self.attention_norm(tokens), mask=mask)
        tokens = tokens + self.attention_scale(read)
        refined: Tensor = tokens + self.mlp_scale(self.mlp(self.mlp_norm(tokens)))
        return refined


class TextLayers(nn.Module):
    """The text as the denoiser reads it: registers, a crop's coordinates, and words refined.

    Paper B, appendices C and F: 16 registers and two layers of self-attention after a frozen text
    encoder; coordinates of what is seen of the image are tokens of the text.
    """

    def __init__(
        self,
        text_width: int,
        width: int,
        *,
        registers: int,
        layers: int,
        heads: int,
        scale: float,
        crop_tokens: bool,
    ) -> None:
        super().__init__()
        self.map = nn.Linear(text_width, width)
        self.registers = nn.Parameter(torch.empty(registers, width))
        nn.init.trunc_normal_(self.registers, std=0.02, a=-0.04, b=0.04)
        self.blocks = nn.ModuleList(TextBlock(width, heads, 4, scale) for _ in range(layers))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.crop = CropTokens(width) if crop_tokens else None

    def forward(
        self, text: Tensor, mask: Tensor | None, crop: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return tokens (batch, n, width) and their mask.

        Args:
            text: (batch, words, text_width).
            mask: (batch, words), not zero where there is a word; None where all are.
            crop: (batch, 4) top, left, height and width as shares of the image; None: all of it.
        """
        count = len(text)
        here = [self.registers.expand(count, -1, -1)]
        if self.crop is not None:
            here.append(
                self.crop(text.new_tensor([0, 0, 1, 1]).expand(count, 4) if crop is None else crop)
            )
        always = torch.ones(
            (count, sum(part.shape[1] for part in here)), dtype=torch.bool, device=text.device
        )
        words = torch.ones(text.shape[:2], dtype=torch.bool, device=text.device)
        seen = torch.cat([always, words if mask is None else mask.bool()], dim=1)
        tokens = torch.cat([*here, self.map(text)], dim=1)
        for block in self.blocks:
            tokens = block(tokens, seen)
        return self.norm(tokens), seen


class CropTokens(nn.Module):
    """Four tokens: where a crop begins and how large it is."""

    def __init__(self, width: int, frequencies: int = 64) -> None:
        super().__init__()
        self.frequencies = frequencies
        self.map = nn.Linear(frequencies, width)
        self.kind = nn.Parameter(torch.empty(4, width))
        nn.init.trunc_normal_(self.kind, std=0.02, a=-0.04, b=0.04)

    def forward(self, crop: Tensor) -> Tensor:
        """Embed (batch, 4) shares of the image as (batch, 4, width)."""
        waves = sinusoid(crop.float().flatten() * TIMESTEPS, self.frequencies)
        embedded: Tensor = self.map(waves.to(self.map.weight.dtype))
        return embedded.view(*crop.shape, -1) + self.kind


def crop_mask(crop: Tensor, height: int, across: int) -> Tensor:
    """Return which patches lie wholly in a crop: bool (batch, height * across).

    Args:
        crop: (batch, 4) top, left, height and width as shares of the image.
    """
    crop = crop.double()
    inside = []
    for start, length, patches in ((0, 2, height), (1, 3, across)):
        low = crop[:, start, None] * patches
        high = low + crop[:, length, None] * patches
        at = torch.arange(patches, device=crop.device)
        inside.append((at >= low - 1e-6) & (at + 1 <= high + 1e-6))
    rows, columns = inside
    return (rows[:, :, None] & columns[:, None, :]).flatten(1)


def to_patches(images: Tensor, size: int) -> Tensor:
    """Cut (batch, channels, height, width) into (batch, patches, channels * size * size)."""
    count, channels, height, width = images.shape
    cut = images.view(count, channels, height // size, size, width // size, size)
    return cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def from_patches(patches: Tensor, size: int, height: int, width: int) -> Tensor:
    """Put patches together: the reverse of `to_patches`."""
    cut = patches.view(len(patches), height // size, width // size, -1, size, size)
    return cut.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)


def initialise(model: nn.Module) -> None:
    """Draw linear layers from Xavier's uniform distribution, with no bias (as DiT does)."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
