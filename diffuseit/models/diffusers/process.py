"""The noise that a network of a diffusers checkpoint was trained on, from its `scheduler_config.json`."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from torch import Tensor

from ...errors import InputError, ModelError
from ...schema import check, number, shown
from ..latent import Sigmas
from .folder import Folder
from .library import library_class

CONFIG = "scheduler_config.json"

_NOISE = {
    "DDIMScheduler",
    "DDPMScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LCMScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "TCDScheduler",
    "UniPCMultistepScheduler",
}
_FLOW = {"FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler"}


@dataclass(frozen=True)
class Ladder:
    """The sigmas of a run, and the timestep that the network expects at each but the last."""

    sigmas: Sigmas
    timesteps: tuple[float, ...]

    def timestep(self, sigma: float) -> float:
        return self.timesteps[self.sigmas.at(sigma)]


@dataclass(frozen=True)
class NoiseProcess:
    """x = x_0 + sigma * noise, for networks that predict the noise or v. Fields are those of the file."""

    num_train_timesteps: int = number(1000, low=1, high=10_000)
    beta_start: float = number(1e-4, low=0.0, high=1.0)
    beta_end: float = number(0.02, low=0.0, high=1.0)
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = "linear"
    trained_betas: tuple[float, ...] | None = number(None, low=0.0, high=1.0, longest=10_000)
    prediction_type: Literal["epsilon", "v_prediction"] = "epsilon"
    timestep_spacing: Literal["linspace", "leading", "trailing"] = "linspace"
    steps_offset: int = number(0, low=0, high=100)
    use_karras_sigmas: bool | None = False
    rescale_betas_zero_snr: bool = False

    def __post_init__(self) -> None:
        check(self)

    def ladder(self, steps: int, tokens: int) -> Ladder:
        """Return `steps` levels over the whole process. Raise `InputError` for more than the process has."""
        _require_steps(steps, self.num_train_timesteps)
        scheduler = library_class("diffusers", "EulerDiscreteScheduler")(**asdict(self))
        scheduler.set_timesteps(steps)
        sigmas = (*scheduler.sigmas.tolist()[:steps], 0.0)
        return Ladder(Sigmas(sigmas), tuple(scheduler.timesteps.tolist()))

    def network_input(self, x: Tensor, sigma: float) -> Tensor:
        return x / math.hypot(1, sigma)

    def pred_xstart(self, x: Tensor, out: Tensor, sigma: float) -> Tensor:
        """Return x_0 from x and the network's output there."""
        if self.prediction_type == "epsilon":
            return x - sigma * out
        return x / (1 + sigma**2) - sigma / math.hypot(1, sigma) * out


@dataclass(frozen=True)
class FlowProcess:
    """x = (1 - sigma) * x_0 + sigma * noise, for networks that predict noise - x_0. Fields are those of the file."""

    num_train_timesteps: int = number(1000, low=1, high=10_000)
    shift: float = number(1.0, low=0.01, high=100.0)
    use_dynamic_shifting: bool = False
    base_shift: float | None = number(0.5, low=-10.0, high=10.0)
    max_shift: float | None = number(1.15, low=-10.0, high=10.0)
    base_image_seq_len: int = number(256, low=1, high=100_000)
    max_image_seq_len: int = number(4096, low=1, high=100_000)
    shift_terminal: float | None = number(None, low=0.0, high=0.999)
    use_karras_sigmas: bool | None = False
    time_shift_type: Literal["exponential", "linear"] = "exponential"

    def __post_init__(self) -> None:
        check(self)

    def ladder(self, steps: int, tokens: int) -> Ladder:
        """Return `steps` levels over the whole process, for images of `tokens` positions of the transformer."""
        _require_steps(steps, self.num_train_timesteps)
        scheduler = library_class("diffusers", "FlowMatchEulerDiscreteScheduler")(**asdict(self))
        scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=self._mu(tokens))
        sigmas = (*scheduler.sigmas.tolist()[:steps], 0.0)
        return Ladder(Sigmas(sigmas, flow=True), tuple(scheduler.timesteps.tolist()))

    def _mu(self, tokens: int) -> float | None:
        """Return how much the noisy levels gain in large images, by Flux's line through two points."""
        if not self.use_dynamic_shifting:
            return None
        low, high = self.base_shift or 0.0, self.max_shift or 0.0
        span = self.max_image_seq_len - self.base_image_seq_len
        return low + (high - low) * (tokens - self.base_image_seq_len) / (span or 1)

    def network_input(self, x: Tensor, sigma: float) -> Tensor:
        return x

    def pred_xstart(self, x: Tensor, out: Tensor, sigma: float) -> Tensor:
        """Return x_0 from x and the network's output there."""
        return x - sigma * out


Process = NoiseProcess | FlowProcess


def read_process(folder: Folder, flow: bool) -> Process:
    """Return the process in the folder of a scheduler. Raise `ModelError` unless it is a flow, or is none, as asked."""
    name = folder.json(CONFIG).get("_class_name")
    known = _FLOW if flow else _NOISE
    if name not in known:
        raise ModelError(f"{folder} has the scheduler {shown(name)}: use one of {', '.join(sorted(known))}")
    return folder.settings(FlowProcess, CONFIG) if flow else folder.settings(NoiseProcess, CONFIG)


def _require_steps(steps: int, most: int) -> None:
    if not 1 <= steps <= most:
        raise InputError(f"steps is {steps}: the checkpoint was trained on {most}, so use 1 to {most}")
