"""DiT-I, paper B's diffusion transformer that reads text (section 2 and appendix C).

DiT (Peebles and Xie 2023) whose blocks read the text by cross-attention in place of adaLN-Zero,
with two layers of self-attention on the text, 16 registers, QK-norm and LayerScale. Its code was
never published, and the paper leaves open how the timestep comes in: here as PixArt-alpha's
adaLN-single (Chen et al. 2023), shifts and scales that all blocks share and each corrects, whose
gates LayerScale stands in for.
"""

from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from synthgap.diffusion.layers import (
    Attention,
    LayerScale,
    TextLayers,
    TimestepEmbedding,
    crop_mask,
    from_patches,
    grid_positions,
    initialise,
    mlp,
    to_patches,
)


class DiTBlock(nn.Module):
    """Image tokens read each other, then the text, then pass a perceptron."""

    def __init__(self, width: int, heads: int, expansion: int, scale: float) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(4, width) / width**0.5)
        self.self_norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.self_attention = Attention(width, heads)
        self.self_scale = LayerScale(width, scale)
        self.text_norm = nn.LayerNorm(width, eps=1e-6)
        self.text_attention = Attention(width, heads)
        self.text_scale = LayerScale(width, scale)
        self.mlp_norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.mlp = mlp(width, expansion)
        self.mlp_scale = LayerScale(width, scale)

    def forward(
        self, image: Tensor, time: Tensor, text: Tensor, seen: Tensor, inside: Tensor | None
    ) -> Tensor:
        """Return the next image tokens.

        Args:
            time: (batch, 4, width), the shifts and scales of all blocks.
            seen: (batch, text tokens), which of them are there.
            inside: (batch, image tokens), which of them are in the crop; None: all.
        """
        shift, scale, mlp_shift, mlp_scale = (time + self.table).chunk(4, dim=1)
        read = self.self_attention(self.self_norm(image) * (1 + scale) + shift, mask=inside)
        image = image + self.self_scale(read)
        image = image + self.text_scale(self.text_attention(self.text_norm(image), text, seen))
        hidden = self.mlp(self.mlp_norm(image) * (1 + mlp_scale) + mlp_shift)
        passed: Tensor = image + self.mlp_scale(hidden)
        return passed


class DiTI(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A denoiser of latents that diffusers' `PixArtAlphaPipeline` samples from.

    The defaults are paper B's, 0.4 billion parameters.

    Args:
        sample_size: side of the latents; other sizes work, see `layers.grid_positions`.
        in_channels, out_channels: of the latents; the pipeline asks for both.
        text_width: of the text encoder; 2048 is flan-t5-xl's.
        layer_scale: what each channel's factor starts from.
        crop_tokens: read where a crop lies (appendix F), for training with crops.
        base_size: side of the latents that positions are learnt at, where that is another: of a
            model that began as one of another resolution.
    """

    config: Any  # what `register_to_config` keeps

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        sample_size: int = 32,
        in_channels: int = 4,
        out_channels: int = 4,
        patch_size: int = 2,
        width: int = 1024,
        layers: int = 24,
        heads: int = 16,
        expansion: int = 4,
        text_width: int = 2048,
        text_layers: int = 2,
        text_heads: int = 16,
        text_registers: int = 16,
        layer_scale: float = 0.1,
        crop_tokens: bool = False,
        base_size: int | None = None,
    ) -> None:
        super().__init__()
        self.patches = nn.Linear(in_channels * patch_size**2, width)
        self.time = TimestepEmbedding(width)
        self.time_shifts = nn.Sequential(nn.SiLU(), nn.Linear(width, 4 * width))
        self.text = TextLayers(
            text_width,
            width,
            registers=text_registers,
            layers=text_layers,
            heads=text_heads,
            scale=layer_scale,
            crop_tokens=crop_tokens,
        )
        self.blocks = nn.ModuleList(
            DiTBlock(width, heads, expansion, layer_scale) for _ in range(layers)
        )
        self.last_table = nn.Parameter(torch.randn(2, width) / width**0.5)
        self.last_norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.last = nn.Linear(width, out_channels * patch_size**2)
        initialise(self)
        # What it predicts at first is nothing, whatever it is given.
        nn.init.zeros_(self.last.weight)

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        timestep: Tensor,
        encoder_attention_mask: Tensor | None = None,
        added_cond_kwargs: Any = None,
        crop: Tensor | None = None,
        return_dict: bool = True,
    ) -> Transformer2DModelOutput | tuple[Tensor]:
        """Predict what the training asked for, of the shape of `hidden_states`.

        Args:
            hidden_states: noisy latents (batch, channels, height, width).
            encoder_hidden_states: the text encoder's last states (batch, words, text_width).
            timestep: (batch,), from 0 (no noise) to 1000.
            encoder_attention_mask: (batch, words), not zero where there is a word.
            added_cond_kwargs: not used; the pipeline passes it.
            crop: (batch, 4) top, left, height and width as shares of the image; patches that are
                not wholly in it are read by none and mean nothing in the result.
        """
        height, across = hidden_states.shape[-2:]
        size = self.config.patch_size
        grid = (height // size, across // size)
        image = self.patches(to_patches(hidden_states, size))
        base = (self.config.base_size or self.config.sample_size) // size
        image = image + grid_positions(self.config.width, *grid, base).to(image)
        inside = None if crop is None else crop_mask(crop, *grid)
        text, seen = self.text(encoder_hidden_states, encoder_attention_mask, crop)
        embedded = self.time(timestep)
        time = self.time_shifts(embedded).unflatten(-1, (4, -1))
        for block in self.blocks:
            image = block(image, time, text, seen, inside)
        shift, scale = (embedded[:, None] + self.last_table).chunk(2, dim=1)
        image = self.last(self.last_norm(image) * (1 + scale) + shift)
        sample = from_patches(image, size, height, across)
        return Transformer2DModelOutput(sample=sample) if return_dict else (sample,)
