"""The pocket U-Net: 64x64, velocity prediction, cosine schedule, two-pixel space-to-depth stem."""

from typing import Any

import torch
from torch import Tensor, nn

from ...models.ddpm import DiffusionConfig, PixelDDPM
from ...models.schedule import make_schedule
from ...models.unet import UNet, UNetConfig
from ..world.seeds import TRAINING
from .data import draw_images
from .loop import Recipe

RECIPE = Recipe(batch=64, minutes=100, snapshots=10)

UNET = UNetConfig(
    image_size=64,
    model_channels=64,
    out_channels=3,
    num_res_blocks=1,
    attention_resolutions=(4,),
    channel_mult=(1, 2, 3),
    num_head_channels=32,
    norm_groups=8,
    space_to_depth=2,
)
DIFFUSION = DiffusionConfig(noise_schedule="cosine", prediction="v", variance="fixed_small")


def build() -> UNet:
    return UNet(UNET)


def ships(unet: UNet) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """State dict and config of a checkpoint that `load_ddpm` reads."""
    return unet.state_dict(), PixelDDPM(unet, DIFFUSION).config()


class Loss:
    """Mean squared error of v at timesteps spread evenly over the process (one stratum per image)."""

    def __init__(self, batch: int, device: torch.device, seeds: range = TRAINING):
        self.batch, self.device, self.seeds = batch, device, seeds
        schedule = make_schedule(DIFFUSION.noise_schedule, DIFFUSION.train_timesteps)
        self.signal = torch.tensor(schedule.sqrt_alphas_cumprod, dtype=torch.float32, device=device)
        self.sigma = torch.tensor(schedule.sqrt_one_minus_alphas_cumprod, dtype=torch.float32, device=device)

    def __call__(self, network: nn.Module, generator: torch.Generator) -> dict[str, Tensor]:
        x_start = draw_images(self.batch, self.seeds, generator, self.device)
        strata = torch.randperm(self.batch, generator=generator) + torch.rand(self.batch, generator=generator)
        t = (strata / self.batch * len(self.signal)).long().clamp_(max=len(self.signal) - 1).to(self.device)
        noise = torch.randn(x_start.shape, generator=generator).to(self.device)
        signal, sigma = self.signal[t][:, None, None, None], self.sigma[t][:, None, None, None]
        x_t = signal * x_start + sigma * noise
        v = signal * noise - sigma * x_start
        dtype = next(network.parameters()).dtype
        x_t = x_t.to(dtype).contiguous(memory_format=torch.channels_last)
        return {"v": (network(x_t, t.float()).float() - v).square().mean()}
