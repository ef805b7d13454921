"""The tiny autoencoder of latent diffusion models, in the layout of TAESD's checkpoints.

Bøer Bohan, "Tiny AutoEncoder for Stable Diffusion" (github.com/madebyollin/taesd), with the two numbers that ComfyUI's
files add: `vae_scale` and `vae_shift` map the latents of the network to those of the diffusion model's own autoencoder.
"""

import os

import torch
from torch import Tensor, nn

from ..errors import ModelError
from ..schema import printable
from .checkpoint import build_from, read_checkpoint

WIDTH = 64
FACTOR = 8
"""Pixels along a side of an image for each latent pixel."""


def _conv(channels_in: int, channels_out: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, 3, padding=1, stride=stride, bias=bias)


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            _conv(WIDTH, WIDTH), nn.ReLU(), _conv(WIDTH, WIDTH), nn.ReLU(), _conv(WIDTH, WIDTH)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv(x) + x)


class _Clamp(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 3) * 3


def _down() -> list[nn.Module]:
    return [_conv(WIDTH, WIDTH, stride=2, bias=False), _Block(), _Block(), _Block()]


def _up() -> list[nn.Module]:
    return [_Block(), _Block(), _Block(), nn.Upsample(scale_factor=2), _conv(WIDTH, WIDTH, bias=False)]


class TAESD(nn.Module):
    """Encoder and decoder between images [B, 3, H, W] in [-1, 1] and latents [B, C, H/8, W/8]."""

    def __init__(self, latent_channels: int = 16) -> None:
        super().__init__()
        encoder = [_conv(3, WIDTH), _Block(), *_down(), *_down(), *_down(), _conv(WIDTH, latent_channels)]
        decoder = [_Clamp(), _conv(latent_channels, WIDTH), nn.ReLU(), *_up(), *_up(), *_up()]
        self.taesd_encoder = nn.Sequential(*encoder)
        self.taesd_decoder = nn.Sequential(*decoder, _Block(), _conv(WIDTH, 3))
        self.vae_scale = nn.Parameter(torch.tensor(1.0))
        self.vae_shift = nn.Parameter(torch.tensor(0.0))

    def encode(self, images: Tensor) -> Tensor:
        return self.taesd_encoder(images / 2 + 0.5) / self.vae_scale + self.vae_shift

    def decode(self, latents: Tensor) -> Tensor:
        return self.taesd_decoder((latents - self.vae_shift) * self.vae_scale) * 2 - 1

    def forward(self, latents: Tensor) -> Tensor:
        """`decode`."""
        return self.decode(latents)


def load_taesd(path: str | os.PathLike[str], dtype: torch.dtype = torch.float32) -> TAESD:
    """Return the frozen autoencoder of a safetensors file. Raise `ModelError` if it holds none."""
    source = printable(str(path))
    state, _ = read_checkpoint(path)
    first = state.get("taesd_decoder.1.weight")
    if first is None or first.ndim != 4:
        raise ModelError(f"{source} is no tiny autoencoder: it has no tensor 'taesd_decoder.1.weight'")
    channels = first.shape[1]
    model = build_from(lambda: TAESD(channels), state, source, "the autoencoder")
    return model.to(dtype).eval().requires_grad_(False)
