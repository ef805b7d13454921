"""The networks that denoise: how each class of diffusers is called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .text import Condition

_PATCH = 2


@dataclass(frozen=True)
class Call:
    """One pass of a network.

    `x` [B, C, H, W] is its input, `condition` has B texts. `factor`: pixels along a side of an image for each of x.
    `guidance`: the scale that networks with distilled guidance take as an input.
    """

    x: Tensor
    timestep: float
    condition: Condition
    factor: int
    guidance: float = 1.0

    @property
    def timesteps(self) -> Tensor:
        return torch.full((len(self.x),), self.timestep, device=self.x.device, dtype=torch.float32)


Run = Callable[[Any, Call], Tensor]
"""A network and its call -> the output [B, C, H, W]."""


def run_unet(unet: Any, call: Call) -> Tensor:
    """A `UNet2DConditionModel` of Stable Diffusion 1, 2, or XL."""
    added = None
    if unet.config.addition_embed_type == "text_time":
        height, width = (side * call.factor for side in call.x.shape[-2:])
        # The size of the original, where it was cropped, and the size that is wanted.
        sizes = torch.tensor(
            [[height, width, 0, 0, height, width]], device=call.x.device, dtype=torch.float32
        )
        added = {"text_embeds": call.condition.pooled, "time_ids": sizes.expand(len(call.x), -1)}
    return unet(
        call.x,
        call.timesteps,
        encoder_hidden_states=call.condition.context,
        added_cond_kwargs=added,
        return_dict=False,
    )[0]


def run_sd3(transformer: Any, call: Call) -> Tensor:
    """An `SD3Transformer2DModel`."""
    return transformer(
        hidden_states=call.x,
        timestep=call.timesteps,
        encoder_hidden_states=call.condition.context,
        pooled_projections=call.condition.pooled,
        return_dict=False,
    )[0]


def run_flux(transformer: Any, call: Call) -> Tensor:
    """A `FluxTransformer2DModel`, whose tokens are squares of 2x2 latent pixels."""
    rows, columns = (side // _PATCH for side in call.x.shape[-2:])
    grid = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    positions = torch.stack([torch.zeros_like(grid[0]), *grid], -1).flatten(0, 1)
    positions = positions.to(call.x.device, torch.float32)
    guidance = None
    if transformer.config.guidance_embeds:
        guidance = torch.full((len(call.x),), call.guidance, device=call.x.device, dtype=torch.float32)
    out = transformer(
        hidden_states=nn.functional.pixel_unshuffle(call.x, _PATCH).flatten(2).mT,
        timestep=call.timesteps / 1000,
        guidance=guidance,
        pooled_projections=call.condition.pooled,
        encoder_hidden_states=call.condition.context,
        txt_ids=positions.new_zeros(call.condition.context.shape[1], 3),
        img_ids=positions,
        return_dict=False,
    )[0]
    return nn.functional.pixel_shuffle(out.mT.unflatten(2, (rows, columns)), _PATCH)


def unet_multiple(config: Any) -> int:
    """Return the number that the sides of the latents should be multiples of."""
    return 2 ** (len(config.block_out_channels) - 1)


def sd3_multiple(config: Any) -> int:
    return config.patch_size


def flux_multiple(config: Any) -> int:
    return _PATCH
