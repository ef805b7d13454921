"""Noise schedules, respacing and every coefficient of the forward and reverse process, as float64 tables.

Notation of Ho et al. 2020 (arXiv 2006.11239) and Nichol & Dhariwal 2021 (arXiv 2102.09672):
q(x_t | x_0) = N(sqrt(alphas_cumprod[t]) x_0, (1 - alphas_cumprod[t]) I).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

import numpy as np
from torch import Tensor

from ..errors import InputError
from ..schema import shown

NoiseSchedule = Literal["linear", "cosine"]


def linear_betas(num_timesteps: int) -> np.ndarray:
    """Ho et al.'s linear betas, 1e-4 to 0.02 at 1000 steps, scaled to other numbers of steps."""
    scale = 1000 / num_timesteps
    return np.linspace(scale * 1e-4, scale * 0.02, num_timesteps, dtype=np.float64)


def cosine_betas(num_timesteps: int, max_beta: float = 0.999) -> np.ndarray:
    """Nichol & Dhariwal's squared-cosine alphas_cumprod, as betas of at most `max_beta`."""

    def alpha_bar(t: float) -> float:
        return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

    edges = [alpha_bar(i / num_timesteps) for i in range(num_timesteps + 1)]
    return np.array([min(1 - b / a, max_beta) for a, b in pairwise(edges)])


def named_betas(name: NoiseSchedule, num_timesteps: int) -> np.ndarray:
    """Betas of a schedule by its guided-diffusion name. Raises `InputError` for an unknown one."""
    if name == "linear":
        return linear_betas(num_timesteps)
    if name == "cosine":
        return cosine_betas(num_timesteps)
    raise InputError(f"unknown noise schedule {name!r}: use 'linear' or 'cosine'")


def space_timesteps(num_timesteps: int, respacing: str) -> list[int]:
    """The original timesteps that a respaced process keeps, ascending.

    `respacing` is guided-diffusion's: "100" spreads 100 steps evenly over the whole process, "10,10" gives 10 to
    each half, "ddim25" takes a fixed integer stride.
    """
    if respacing.startswith("ddim"):
        wanted = _positive(respacing.removeprefix("ddim"), respacing)
        for stride in range(1, num_timesteps):
            steps = range(0, num_timesteps, stride)
            if len(steps) == wanted:
                return list(steps)
        raise InputError(f"no integer stride gives {wanted} of {num_timesteps} steps; use a plain number")
    counts = [_positive(part, respacing) for part in respacing.split(",")]
    size, extra = divmod(num_timesteps, len(counts))
    kept: list[int] = []
    start = 0
    for section, count in enumerate(counts):
        length = size + (section < extra)
        if count > length:
            raise InputError(f"cannot take {count} steps out of {length}: ask for at most {length}")
        spacing = (length - 1) / (count - 1) if count > 1 else 1.0
        position = 0.0
        for _ in range(count):
            kept.append(start + round(position))
            position += spacing
        start += length
    return sorted(set(kept))


def _positive(text: str, respacing: str) -> int:
    if not text.strip().isdecimal() or len(text) > 9 or int(text) < 1:
        raise InputError(
            f"respacing {shown(respacing)} is not a number of steps such as '100', '10,10' or 'ddim25'"
        )
    return int(text)


@dataclass(frozen=True, eq=False)
class Schedule:
    """A (respaced) diffusion process of N steps; index i in 0..N-1 counts from clean to noisy.

    `betas` [N] float64; `timestep_map[i]` is step i's timestep in the process the network was trained on, which
    had `train_timesteps` steps.
    """

    betas: np.ndarray
    timestep_map: tuple[int, ...]
    train_timesteps: int

    @classmethod
    def of_levels(cls, levels: Sequence[float]) -> "Schedule":
        """Return the process whose step i has noise of deviation `levels[i]` on a signal of 1; they ascend."""
        alphas_cumprod = 1 / (1 + np.array(levels, dtype=np.float64) ** 2)
        betas = 1 - alphas_cumprod / np.append(1.0, alphas_cumprod[:-1])
        return cls(betas, tuple(range(len(levels))), len(levels))

    def __len__(self) -> int:
        return len(self.betas)

    @cached_property
    def alphas_cumprod(self) -> np.ndarray:
        return np.cumprod(1.0 - self.betas)

    @cached_property
    def alphas_cumprod_prev(self) -> np.ndarray:
        return np.append(1.0, self.alphas_cumprod[:-1])

    @cached_property
    def sqrt_alphas_cumprod(self) -> np.ndarray:
        return np.sqrt(self.alphas_cumprod)

    @cached_property
    def sqrt_one_minus_alphas_cumprod(self) -> np.ndarray:
        return np.sqrt(1.0 - self.alphas_cumprod)

    @cached_property
    def sqrt_recip_alphas_cumprod(self) -> np.ndarray:
        return np.sqrt(1.0 / self.alphas_cumprod)

    @cached_property
    def sqrt_recipm1_alphas_cumprod(self) -> np.ndarray:
        return np.sqrt(1.0 / self.alphas_cumprod - 1.0)

    @cached_property
    def posterior_variance(self) -> np.ndarray:
        """Variance of q(x_{t-1} | x_t, x_0); exactly 0 at t = 0."""
        return self.betas * (1.0 - self.alphas_cumprod_prev) / (1.0 - self.alphas_cumprod)

    @cached_property
    def posterior_log_variance_clipped(self) -> np.ndarray:
        """Its logarithm, with step 1's value at step 0, where the variance is 0."""
        head = self.posterior_variance[1] if len(self) > 1 else self.betas[0]
        return np.log(np.append(head, self.posterior_variance[1:]))

    @cached_property
    def posterior_mean_coef1(self) -> np.ndarray:
        """Weight of x_0 in the mean of q(x_{t-1} | x_t, x_0)."""
        return self.betas * np.sqrt(self.alphas_cumprod_prev) / (1.0 - self.alphas_cumprod)

    @cached_property
    def posterior_mean_coef2(self) -> np.ndarray:
        """Weight of x_t in the mean of q(x_{t-1} | x_t, x_0)."""
        return (1.0 - self.alphas_cumprod_prev) * np.sqrt(1.0 - self.betas) / (1.0 - self.alphas_cumprod)

    def q_sample(self, x_start: Tensor, index: int, noise: Tensor) -> Tensor:
        """Draws x_t from q(x_t | x_0) with the given standard normal `noise`; all of one shape."""
        signal, sigma = self.sqrt_alphas_cumprod[index], self.sqrt_one_minus_alphas_cumprod[index]
        return float(signal) * x_start + float(sigma) * noise

    def posterior_mean(self, x_start: Tensor, x_t: Tensor, index: int) -> Tensor:
        """Mean of q(x_{t-1} | x_t, x_0)."""
        coef1, coef2 = self.posterior_mean_coef1[index], self.posterior_mean_coef2[index]
        return float(coef1) * x_start + float(coef2) * x_t

    def xstart_from_eps(self, x_t: Tensor, eps: Tensor, index: int) -> Tensor:
        """pred_xstart from x_t and the predicted noise."""
        recip, recipm1 = self.sqrt_recip_alphas_cumprod[index], self.sqrt_recipm1_alphas_cumprod[index]
        return float(recip) * x_t - float(recipm1) * eps

    def eps_from_xstart(self, x_t: Tensor, pred_xstart: Tensor, index: int) -> Tensor:
        """The noise that x_t holds if x_0 is `pred_xstart`."""
        recip, recipm1 = self.sqrt_recip_alphas_cumprod[index], self.sqrt_recipm1_alphas_cumprod[index]
        return (float(recip) * x_t - pred_xstart) / float(recipm1)

    def xstart_from_v(self, x_t: Tensor, v: Tensor, index: int) -> Tensor:
        """pred_xstart from v = sqrt(abar) eps - sqrt(1 - abar) x_0 (Salimans & Ho 2022, arXiv 2202.00512)."""
        signal, sigma = self.sqrt_alphas_cumprod[index], self.sqrt_one_minus_alphas_cumprod[index]
        return float(signal) * x_t - float(sigma) * v


def make_schedule(name: NoiseSchedule, train_timesteps: int, respacing: str | int = "") -> Schedule:
    """The named schedule, respaced ("" keeps every step) so that alphas_cumprod agree at the kept timesteps."""
    betas = named_betas(name, train_timesteps)
    kept = space_timesteps(train_timesteps, str(respacing) or str(train_timesteps))
    alphas_cumprod = np.cumprod(1.0 - betas)
    previous, respaced = 1.0, []
    for timestep in kept:
        respaced.append(1.0 - alphas_cumprod[timestep] / previous)
        previous = alphas_cumprod[timestep]
    return Schedule(np.array(respaced), tuple(kept), train_timesteps)
