"""Pixel-space DDPM: an ADM U-Net with the diffusion process it was trained for."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InputError
from ..schema import check, number, to_json
from .base import Prediction
from .schedule import NoiseSchedule, Schedule, make_schedule
from .unet import UNet

PredictionKind = Literal["eps", "v", "xstart"]
VarianceKind = Literal["learned_range", "fixed_small", "fixed_large"]


@dataclass(frozen=True)
class DiffusionConfig:
    """How to read a U-Net's output. The defaults are those of guided-diffusion's published checkpoints.

    `prediction`: what the first channels are, the noise "eps", the velocity "v" or "xstart" itself.
    `variance`: "learned_range" (further channels interpolate between posterior variance and beta in log space),
    or one of the two fixed choices of Ho et al. Raise `InputError` for anything else.
    """

    # Fewer steps would give linear betas beyond 1.
    train_timesteps: int = number(1000, low=25, high=10_000)
    noise_schedule: NoiseSchedule = "linear"
    prediction: PredictionKind = "eps"
    variance: VarianceKind = "learned_range"
    rescale_timesteps: bool = True

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def from_guided_diffusion(cls, flags: dict[str, Any]) -> "DiffusionConfig":
        """Read guided-diffusion's flags (`model_and_diffusion_defaults`)."""
        return cls(
            train_timesteps=int(flags["diffusion_steps"]),
            noise_schedule=flags.get("noise_schedule", "linear"),
            prediction="xstart" if flags.get("predict_xstart") else "eps",
            variance="learned_range" if flags.get("learn_sigma") else "fixed_large",
            rescale_timesteps=bool(flags.get("rescale_timesteps", False)),
        )


class PixelDDPM(nn.Module):
    """A `Backbone` that works on pixels in [-1, 1], RGB or gray.

    For RGB, `encode` and `decode` are the identity. A gray network takes the mean of the channels and gives three equal
    ones. Raise `InputError` for a U-Net whose channels are not those of pixels and of `diffusion.variance`.
    """

    def __init__(self, unet: UNet, diffusion: DiffusionConfig = DiffusionConfig()):
        super().__init__()
        channels = unet.config.in_channels
        if channels not in (1, 3):
            raise InputError(f"a U-Net with {channels} input channels does not work on pixels, RGB or gray")
        expected = channels * (2 if diffusion.variance == "learned_range" else 1)
        if unet.config.out_channels != expected:
            raise InputError(
                f"a U-Net with {unet.config.out_channels} output channels cannot have variance "
                f"{diffusion.variance!r}: that needs {expected}"
            )
        self.unet = unet
        self.diffusion = diffusion

    @property
    def device(self) -> torch.device:
        return next(self.unet.parameters()).device

    @property
    def image_size(self) -> int:
        return self.unet.config.image_size

    @property
    def size_multiple(self) -> int:
        return self.unet.config.size_multiple

    @property
    def num_classes(self) -> int | None:
        return self.unet.config.num_classes

    @property
    def shows_noise(self) -> bool:
        return True

    @property
    def parts_to_compile(self) -> list[nn.Module]:
        """Return the modules that `torch.compile` may compile as a whole."""
        return [self.unet]

    def config(self) -> dict[str, Any]:
        """Return what a checkpoint's metadata needs to rebuild this model, as JSON values."""
        return {"unet": to_json(self.unet.config), "diffusion": to_json(self.diffusion)}

    def schedule(self, respacing: str | int = "") -> Schedule:
        """Return the process that the network was trained for, respaced."""
        return make_schedule(self.diffusion.noise_schedule, self.diffusion.train_timesteps, respacing)

    def network_timesteps(self, schedule: Schedule, index: int, batch: int) -> Tensor:
        """Return the timestep input of the network: [batch] float32."""
        timestep = float(schedule.timestep_map[index])
        if self.diffusion.rescale_timesteps:
            timestep *= 1000.0 / schedule.train_timesteps
        return torch.full((batch,), timestep, dtype=torch.float32, device=self.device)

    def predict(self, x_t: Tensor, schedule: Schedule, index: int, y: Tensor | None = None) -> Prediction:
        """Run one forward pass of the U-Net at x_t [B, C, H, W] and step `index`. Nothing is clipped."""
        out = self.unet(x_t, self.network_timesteps(schedule, index, len(x_t)), y)
        pred_xstart = self._xstart(x_t, out[:, : x_t.shape[1]], schedule, index)
        mean = schedule.posterior_mean(pred_xstart, x_t, index)
        return Prediction(pred_xstart, mean, self._log_variance(out[:, x_t.shape[1] :], schedule, index))

    def _xstart(self, x_t: Tensor, out: Tensor, schedule: Schedule, index: int) -> Tensor:
        if self.diffusion.prediction == "eps":
            return schedule.xstart_from_eps(x_t, out, index)
        if self.diffusion.prediction == "v":
            return schedule.xstart_from_v(x_t, out, index)
        return out

    def _log_variance(self, out: Tensor, schedule: Schedule, index: int) -> Tensor:
        log_min = float(schedule.posterior_log_variance_clipped[index])
        log_max = float(np.log(schedule.betas[index]))
        if self.diffusion.variance == "learned_range":
            fraction = (out + 1) / 2
            return fraction * log_max + (1 - fraction) * log_min
        if self.diffusion.variance == "fixed_small":
            return torch.tensor(log_min, dtype=out.dtype, device=out.device)
        return torch.tensor(log_max if index else log_min, dtype=out.dtype, device=out.device)

    def encode(self, image: Tensor) -> Tensor:
        return image if self.unet.config.in_channels == 3 else image.mean(1, keepdim=True)

    def decode(self, x: Tensor) -> Tensor:
        return x if x.shape[1] == 3 else x.expand(-1, 3, -1, -1)

    def show(self, x: Tensor) -> Tensor:
        return self.decode(x)

    def view(self, image: Tensor) -> Tensor:
        return image

    def resize_mask(self, mask: Tensor) -> Tensor:
        return mask

    def networks(self) -> dict[str, nn.Module]:
        return {"DDPM": self.unet}

    def example_inputs(self, batch: int, size: tuple[int, int]) -> tuple[Tensor, ...]:
        picture = torch.empty(batch, self.unet.config.in_channels, *size, dtype=torch.float32)
        timesteps = torch.empty(batch, dtype=torch.float32)
        return (
            (picture, timesteps)
            if self.num_classes is None
            else (picture, timesteps, torch.empty(batch).long())
        )
