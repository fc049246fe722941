"""CAD-I, paper B's recurrent interface network that reads text (appendix C).

A RIN (Jabri et al. 2023) as CAD has it (Dufour et al. 2024, "Don't drop your samples"): a few
latent tokens read the text and the image, compute, and write back to the image's tokens; latents
of the step before are where the next begins (self-conditioning, RIN section 3.2).

Paper B's figure 11 lists 128 latents of width 512 in 3 blocks of 2 layers: some 0.05 billion
parameters and not the 0.3 that the paper speaks of. They are the defaults of its public code, which
its experiments override. The defaults here are the override of 0.3 billion (width 1024, 4 blocks of
4 layers), with figure 11's 128 latents, whose number costs no parameters.
"""

from typing import Any, NamedTuple

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from synthgap.diffusion.layers import (
    Attention,
    TextLayers,
    TimestepEmbedding,
    crop_mask,
    from_patches,
    initialise,
    mlp,
    to_patches,
)


class CADOutput(NamedTuple):
    """What is predicted, (batch, channels, height, width), and latents for the next step."""

    sample: Tensor
    latents: Tensor


class Reading(nn.Module):
    """Tokens read others (or each other) and pass a perceptron."""

    def __init__(
        self, width: int, heads: int, expansion: int, from_width: int | None = None
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6)
        inner = min(width, from_width or width)
        self.attention = Attention(width, heads, from_width=from_width, inner=inner)
        self.mlp_norm = nn.LayerNorm(width, eps=1e-6)
        self.mlp = mlp(width, expansion)

    def forward(
        self, to: Tensor, source: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Return the tokens `to`, each with what it has read."""
        to = to + self.attention(self.norm(to), source, mask)
        passed: Tensor = to + self.mlp(self.mlp_norm(to))
        return passed


class CADBlock(nn.Module):
    """Latents read the text and the image, compute among themselves, and write to the image."""

    def __init__(
        self,
        width: int,
        data_width: int,
        *,
        layers: int,
        interface_heads: int,
        heads: int,
        expansion: int,
        data_expansion: int,
    ) -> None:
        super().__init__()
        self.read_text = Reading(width, interface_heads, expansion, width)
        self.read = Reading(width, interface_heads, expansion, data_width)
        self.process = nn.ModuleList(Reading(width, heads, expansion) for _ in range(layers))
        self.write = Reading(data_width, interface_heads, data_expansion, width)

    def forward(
        self, image: Tensor, latents: Tensor, text: Tensor, seen: Tensor, inside: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return the next image tokens and latents."""
        latents = self.read(self.read_text(latents, text, seen), image, inside)
        for layer in self.process:
            latents = layer(latents)
        return self.write(image, latents), latents


class CADI(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A denoiser of latents that diffusers' `PixArtAlphaPipeline` samples from.

    A pipeline passes no latents from step to step, so outside of training the model keeps those of
    the last step, and begins anew where the timestep is the first one's again or grows, or another
    number of images comes.

    Args:
        sample_size: side of the latents of images.
        in_channels, out_channels: of the latents of images; the pipeline asks for both.
        num_latents, width: the number and width of the latent tokens.
        data_width: of the image's tokens.
        layers: of computing in each of `num_blocks`.
        interface_heads: of reading and writing (paper B: 8; 16 in the public override).
        heads: of computing.
        text_width: of the text encoder; 2048 is flan-t5-xl's.
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
        num_latents: int = 128,
        width: int = 1024,
        data_width: int = 256,
        num_blocks: int = 4,
        layers: int = 4,
        interface_heads: int = 8,
        heads: int = 16,
        expansion: int = 4,
        data_expansion: int = 4,
        text_width: int = 2048,
        text_layers: int = 2,
        text_heads: int = 16,
        text_registers: int = 16,
        layer_scale: float = 0.1,
        crop_tokens: bool = False,
        base_size: int | None = None,
    ) -> None:
        super().__init__()
        self.patches = nn.Linear(in_channels * patch_size**2, data_width)
        self.patch_norm = nn.LayerNorm(data_width, eps=1e-6)
        side = (base_size or sample_size) // patch_size
        self.positions = nn.Parameter(torch.empty(side * side, data_width))
        self.latents = nn.Parameter(torch.empty(num_latents, width))
        for learned in (self.positions, self.latents):
            nn.init.trunc_normal_(learned, std=0.02, a=-0.04, b=0.04)
        self.time = TimestepEmbedding(width)
        self.text = TextLayers(
            text_width,
            width,
            registers=text_registers,
            layers=text_layers,
            heads=text_heads,
            scale=layer_scale,
            crop_tokens=crop_tokens,
        )
        self.previous_norm = nn.LayerNorm(width, eps=1e-6)
        self.previous_mlp = mlp(width, expansion)
        self.previous_out = nn.LayerNorm(width, eps=1e-6)
        self.blocks = nn.ModuleList(
            CADBlock(
                width,
                data_width,
                layers=layers,
                interface_heads=interface_heads,
                heads=heads,
                expansion=expansion,
                data_expansion=data_expansion,
            )
            for _ in range(num_blocks)
        )
        self.last_norm = nn.LayerNorm(data_width, eps=1e-6)
        self.last = nn.Linear(data_width, out_channels * patch_size**2)
        initialise(self)
        # RIN's start: what comes from the step before counts for nothing yet.
        nn.init.zeros_(self.previous_out.weight)
        nn.init.zeros_(self.last.weight)
        self._step: tuple[float, float, Tensor] | None = None  # first and last timestep, latents

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        timestep: Tensor,
        encoder_attention_mask: Tensor | None = None,
        added_cond_kwargs: Any = None,
        crop: Tensor | None = None,
        previous: Tensor | None = None,
        return_dict: bool = True,
    ) -> CADOutput:
        """Predict what the training asked for, of the shape of `hidden_states`.

        Args:
            hidden_states: noisy latents of images (batch, channels, height, width).
            encoder_hidden_states: the text encoder's last states (batch, words, text_width).
            timestep: (batch,), from 0 (no noise) to 1000.
            encoder_attention_mask: (batch, words), not zero where there is a word.
            added_cond_kwargs: not used; the pipeline passes it.
            crop: (batch, 4) top, left, height and width as shares of the image; patches that are
                not wholly in it are read by none and mean nothing in the result.
            previous: latent tokens of the step before (batch, latents, width).
            return_dict: not used: a named tuple serves as both.
        """
        sampling = not self.training and previous is None
        if sampling:
            previous = self._kept(timestep, len(hidden_states))
        height, across = hidden_states.shape[-2:]
        size = self.config.patch_size
        grid = (height // size, across // size)
        image = self.patch_norm(self.patches(to_patches(hidden_states, size)))
        image = image + self._positions(*grid)
        inside = None if crop is None else crop_mask(crop, *grid)
        words, seen = self.text(encoder_hidden_states, encoder_attention_mask, crop)
        time = self.time(timestep)[:, None]
        text = torch.cat([time, words], dim=1)
        seen = torch.cat([seen.new_ones(len(seen), 1), seen], dim=1)
        latents = self.latents + time
        # Where no step was before, nothing is what it made, as in RIN.
        before = torch.zeros_like(latents) if previous is None else previous
        before = before + self.previous_mlp(self.previous_norm(before))
        latents = latents + self.previous_out(before)
        for block in self.blocks:
            image, latents = block(image, latents, text, seen, inside)
        sample = from_patches(self.last(self.last_norm(image)), size, height, across)
        if sampling:
            at = float(timestep.flatten()[0])
            first = at if previous is None or self._step is None else self._step[0]
            self._step = (first, at, latents)
        return CADOutput(sample, latents)

    def _kept(self, timestep: Tensor, count: int) -> Tensor | None:
        """Return the latents of the step before, where this one goes on from it."""
        if self._step is None:
            return None
        first, last, latents = self._step
        at = float(timestep.flatten()[0])
        goes_on = at <= last and at != first and len(latents) == count
        return latents if goes_on else None

    def _positions(self, height: int, across: int) -> Tensor:
        """Return the learned positions, stretched where the image has another size."""
        base = self.config.base_size or self.config.sample_size
        side = base // self.config.patch_size
        if (height, across) == (side, side):
            return self.positions
        square = self.positions.T.unflatten(-1, (side, side))[None]
        stretched = nn.functional.interpolate(
            square.float(), (height, across), mode="bicubic", antialias=False
        )
        return stretched[0].flatten(1).T.to(self.positions.dtype)
