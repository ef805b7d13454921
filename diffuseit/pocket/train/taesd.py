"""The pocket autoencoder: images of 64x64 to latents of 16x8x8, in TAESD's layout."""

from typing import Any

import torch
from torch import Tensor, nn

from ...models.latent import FLUX_LATENTS
from ...models.taesd import TAESD
from ..benchmark.metrics import luminance, structural_similarity
from ..world.seeds import TRAINING
from .data import ImagePool, draw_images
from .loop import Recipe

RECIPE = Recipe(batch=512, minutes=4, ema=0.998)

POOL = 131_072
"""Images to train on."""

NOISE = 0.05
"""Deviation of the noise on latents, which have a deviation of 1: a diffusion model does not hit them exactly."""


def build() -> TAESD:
    model = TAESD().requires_grad_(True)
    model.vae_scale.requires_grad_(False)
    model.vae_shift.requires_grad_(False)
    for part in model.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            part.weight.data.mul_(0.6)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    return model


@torch.no_grad()
def ships(model: TAESD) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """State dict whose latents, as Flux's models normalize them, have a deviation of 1."""
    model.vae_scale.fill_(1.0)
    model.vae_shift.fill_(0.0)
    images = draw_images(256, TRAINING, torch.Generator().manual_seed(0), "cpu")
    model.vae_scale.fill_(FLUX_LATENTS.scale * float(model.encode(images).std()))
    model.vae_shift.fill_(FLUX_LATENTS.shift)
    return model.state_dict(), None


def _slopes(images: Tensor) -> tuple[Tensor, Tensor]:
    return images.diff(dim=-1), images.diff(dim=-2)


class Loss:
    """Distance of the images, their slopes and their structure; latents of mean 0 and variance 1 in each channel."""

    def __init__(self, batch: int, device: torch.device, pool: int | None = None):
        self.batch, self.pool = batch, ImagePool(POOL if pool is None else pool, TRAINING, device)

    def __call__(self, network: TAESD, generator: torch.Generator) -> dict[str, Tensor]:
        images = self.pool.draw(self.batch, generator)
        dtype = next(network.parameters()).dtype
        latents = network.encode(images.to(dtype).contiguous(memory_format=torch.channels_last))
        noised = latents + NOISE * torch.randn_like(latents)
        found, latents = network.decode(noised).float(), latents.float()
        slopes = [(x - y).abs().mean() for x, y in zip(_slopes(found), _slopes(images), strict=True)]
        spread = latents.var((0, 2, 3)) - 1
        return {
            "l1": (found - images).abs().mean() / 2,
            "l2": (found - images).square().mean() / 2,
            "slopes": torch.stack(slopes).sum() / 2,
            "ssim": 0.3 * (1 - structural_similarity(luminance(found), luminance(images)).mean()),
            "latents": 0.01 * (spread.square().mean() + latents.mean((0, 2, 3)).square().mean()),
        }
