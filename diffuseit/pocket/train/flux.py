"""The pocket flow model: a small Flux on the latents of the pocket autoencoder, conditioned on the pocket CLIP."""

import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...models.flux import Flux
from ...models.latent import FLUX_LATENTS
from ...models.taesd import TAESD
from ..models import WEIGHTS, pocket_autoencoder, pocket_clip, text_embeddings
from ..world.captions import caption
from ..world.render import DOMAINS, STYLES, render, sample_geometry
from ..world.seeds import TRAINING
from .clip import style_prompt
from .data import draw_seeds
from .loop import Recipe

RECIPE = Recipe(batch=4096, minutes=4, ema=0.999, weight_decay=0.001)

POOL = 32_768
"""Geometries of each domain to draw from, each with a style, and a caption or a prompt."""

TEXTURES = 4
"""Renders of each geometry."""

UNCONDITIONAL = 0.15
"""Share of images without text, for classifier-free guidance."""


def build() -> Flux:
    model = Flux().requires_grad_(True)
    for name, parameter in model.named_parameters():
        if name.endswith("lin.weight") or "adaLN_modulation" in name or name.startswith("final_layer.linear"):
            nn.init.zeros_(parameter)
    return model


def ships(model: Flux) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    return model.state_dict(), None


class _Pool:
    """The normalized latents [TEXTURES * count, C, 8, 8] of scenes of one domain, and the embeddings [count, D]."""

    def __init__(self, domain: str, count: int, autoencoder: TAESD, device: torch.device) -> None:
        generator, rng = torch.Generator().manual_seed(0), random.Random(0)
        scenes = sample_geometry(domain, draw_seeds(count, TRAINING, generator))
        styles = torch.randint(len(STYLES[domain]), (count,), generator=generator)
        texts = caption(scenes, styles, rng)
        for index in range(0, count, 2):
            texts[index] = style_prompt(domain, STYLES[domain][int(styles[index])], rng)
        clip = pocket_clip()
        self.texts = torch.cat([text_embeddings(clip, texts[at : at + 512]) for at in range(0, count, 512)])
        self.texts = self.texts.to(device)
        geometry, latents = scenes.to(device), []
        for at in range(0, count * TEXTURES, 512):
            part = torch.arange(at, min(at + 512, count * TEXTURES)) % count
            images = render(geometry[part], styles[part], draw_seeds(len(part), TRAINING, generator))
            with torch.no_grad():
                latents.append(FLUX_LATENTS.normalize(autoencoder.encode(images)))
        self.latents = torch.cat(latents)

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return latents [count, C, 8, 8] and the embeddings [count, D] of texts that ask for them."""
        index = torch.randint(len(self.latents), (count,), generator=generator).to(self.latents.device)
        return self.latents[index], self.texts[index % len(self.texts)]


class Loss:
    """Mean squared error of the velocity, at times whose logits are normally distributed, or now and then uniform."""

    def __init__(self, batch: int, device: torch.device, pool: int | None = None, folder: Path = WEIGHTS):
        self.count, self.device = batch // len(DOMAINS), device
        autoencoder = pocket_autoencoder(folder).to(device)
        self.pools = [
            _Pool(domain, POOL if pool is None else pool, autoencoder, device) for domain in DOMAINS
        ]

    def __call__(self, network: Flux, generator: torch.Generator) -> dict[str, Tensor]:
        drawn = [pool.draw(self.count, generator) for pool in self.pools]
        x_start, texts = (torch.cat(part) for part in zip(*drawn, strict=True))
        count, device = len(x_start), self.device
        texts = texts * (torch.rand(count, 1, generator=generator) >= UNCONDITIONAL).to(device)
        normal = torch.sigmoid(torch.randn(count, generator=generator))
        uniform = torch.rand(count, generator=generator)
        t = torch.where(torch.rand(count, generator=generator) < 0.2, uniform, normal).to(device)
        noise = torch.randn_like(x_start)
        at = t.view(-1, 1, 1, 1)
        dtype = next(network.parameters()).dtype
        texts = texts.to(dtype)
        found = network(((1 - at) * x_start + at * noise).to(dtype), t, texts[:, None], texts).float()
        return {"v": (found - (noise - x_start)).square().mean()}
