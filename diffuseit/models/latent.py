"""Latent diffusion as a `Backbone`: any function x, sigma -> x_0, and an autoencoder.

x = signal * x_0 + sigma * noise, where the signal is 1 (models that predict noise or v, in k-diffusion's scaling) or
1 - sigma (rectified flows, Liu et al. 2022, arXiv 2209.03003). The core's loop works on x / sqrt(signal^2 + sigma^2),
whose variance is preserved.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor, nn

from ..errors import InputError
from .base import Prediction
from .resize import output_size, resize
from .schedule import Schedule

VIEW_SIZE = 512
"""Pixels of the shorter side at which the losses look. Their networks look at fewer."""

_LARGEST_FLOW_SIGMA = 0.999

Denoise = Callable[[Tensor, float], Tensor]
"""x [B, C, H, W] and its sigma -> x_0. The conditioning is the function's own."""


@dataclass(frozen=True)
class LatentFormat:
    """The diffusion model works on (latents - shift) * scale."""

    scale: float
    shift: float

    def normalize(self, latents: Tensor) -> Tensor:
        return (latents - self.shift) * self.scale

    def denormalize(self, x: Tensor) -> Tensor:
        return x / self.scale + self.shift


FLUX_LATENTS = LatentFormat(scale=0.3611, shift=0.1159)


@dataclass(frozen=True)
class Sigmas:
    """The noise levels of a run, the noisiest first; a last 0 is the image itself.

    `flow`: whether the signal is 1 - sigma. `noise_scale` multiplies the noise of models that were trained so.
    Raise `InputError` for levels that do not fall, or for none.
    """

    values: tuple[float, ...]
    flow: bool = False
    noise_scale: float = 1.0

    def __post_init__(self) -> None:
        falling = all(high > low for high, low in zip(self.values, self.values[1:], strict=False))
        if len(self.values) < 2 or not falling or self.values[-1] < 0 or not math.isfinite(self.values[0]):
            raise InputError(
                f"{len(self.values)} sigmas give no run: they must fall from noise to 0, in one step or more"
            )

    @property
    def steps(self) -> int:
        return len(self.values) - 1

    def signal(self, sigma: float) -> float:
        return 1 - min(sigma, _LARGEST_FLOW_SIGMA) if self.flow else 1.0

    def scale(self, sigma: float) -> float:
        """Return the deviation of x for data of unit variance."""
        return math.hypot(self.signal(sigma), self.noise_scale * sigma)

    def at(self, sigma: float) -> int:
        """Return the step, counted from 0, that starts at or just above `sigma`."""
        nearby = sigma * (1 - 1e-4)
        return max(sum(value >= nearby for value in self.values[:-1]) - 1, 0)

    def below(self, sigma: float) -> float:
        """Return the next smaller level."""
        return next((value for value in self.values if value < sigma * (1 - 1e-4)), 0.0)

    @cached_property
    def schedule(self) -> Schedule:
        """Return the process whose step i, counted from clean to noisy, starts at these levels."""
        return Schedule.of_levels([self.level(sigma) for sigma in reversed(self.values[:-1])])

    def level(self, sigma: float) -> float:
        """Return the deviation of the noise for a signal of 1."""
        return self.noise_scale * sigma / self.signal(sigma)


class Autoencoder(Protocol):
    """Images [B, 3, H, W] in [-1, 1] to the space of the diffusion model, and back."""

    @property
    def factor(self) -> int:
        """Return how many pixels of a side one latent pixel stands for; 1 in pixel space."""
        ...

    def encode(self, image: Tensor) -> Tensor: ...

    def decode(self, x: Tensor) -> Tensor:
        """Return images, not clamped, differentiably in x."""
        ...

    def networks(self) -> Mapping[str, nn.Module]:
        """Return the modules whose `forward` decodes."""
        ...


class LatentDiffusion:
    """A `Backbone` over `denoise`.

    The losses look at decoded predictions with a shorter side of at most `view_size` pixels, resized with antialiasing:
    without it, a feature network sees a fraction of the pixels of a large image. `shrink` divides the sides of the
    latents before they are decoded for that, which costs sharpness and saves its square in time and memory.
    """

    num_classes = None
    shows_noise = False

    def __init__(
        self,
        denoise: Denoise,
        sigmas: Sigmas,
        autoencoder: Autoencoder,
        device: torch.device | str = "cpu",
        *,
        channels: int = 16,
        view_size: int = VIEW_SIZE,
        shrink: int = 1,
    ):
        self.denoise, self.sigmas, self.autoencoder = denoise, sigmas, autoencoder
        self.device, self.channels = torch.device(device), channels
        self.view_size, self.shrink = view_size, shrink

    @property
    def image_size(self) -> int:
        return self.view_size

    @property
    def size_multiple(self) -> int:
        return self.autoencoder.factor

    def schedule(self, respacing: str | int = "") -> Schedule:
        """Return the process of the sigmas. Raise `InputError` if `respacing` asks for another number of steps."""
        if str(respacing) not in ("", str(self.sigmas.steps)):
            raise InputError(f"steps is {respacing}, but there are sigmas for {self.sigmas.steps}")
        return self.sigmas.schedule

    def predict(self, x_t: Tensor, schedule: Schedule, t: int, y: Tensor | None = None) -> Prediction:
        sigma = self.sigmas.values[self.sigmas.steps - 1 - t]
        pred_xstart = self.denoise(self.sigmas.scale(sigma) * x_t, sigma)
        log_variance = torch.as_tensor(
            schedule.posterior_log_variance_clipped[t], dtype=x_t.dtype, device=x_t.device
        )
        return Prediction(pred_xstart, schedule.posterior_mean(pred_xstart, x_t, t), log_variance)

    def encode(self, image: Tensor) -> Tensor:
        return self.autoencoder.encode(image)

    def decode(self, x: Tensor) -> Tensor:
        return self.autoencoder.decode(x)

    def show(self, x: Tensor) -> Tensor:
        height, width = (side * self.autoencoder.factor for side in x.shape[-2:])
        if self.shrink > 1:
            x = nn.functional.interpolate(x, scale_factor=1 / self.shrink, mode="area")
        return resize(self.autoencoder.decode(x), self._seen_at(height, width), antialias=True)

    def view(self, image: Tensor) -> Tensor:
        return resize(image, self._seen_at(image.shape[-2], image.shape[-1]), antialias=True)

    def _seen_at(self, height: int, width: int) -> tuple[int, int]:
        """Return the size at which the losses see an image, or a smaller one that stands for it."""
        small = min(height, width) <= self.view_size
        return (height, width) if small else output_size(height, width, self.view_size)

    def resize_mask(self, mask: Tensor) -> Tensor:
        factor = self.autoencoder.factor
        return mask if factor == 1 else nn.functional.avg_pool2d(mask, factor)

    def networks(self) -> Mapping[str, nn.Module]:
        return self.autoencoder.networks()

    def example_inputs(self, batch: int, size: tuple[int, int]) -> Sequence[Tensor]:
        factor = self.autoencoder.factor * self.shrink
        height, width = (max(1, side // factor) for side in size)
        return (torch.empty(batch, self.channels, height, width, dtype=torch.float32),)
