"""Guidance with a spherical Gaussian constraint (Yang et al. 2024, DSG, arXiv 2402.03201).

Noise of deviation sigma_t in n dimensions lies close to the sphere of radius sqrt(n) sigma_t around the step's mean.
The step goes to a point of that sphere: toward the steepest descent, d* = -sqrt(n) sigma_t gradient / |gradient|,
mixed with the random direction that an unguided step would take.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..schema import number
from .base import DDIMMethod, Eta, Inner, Move, State
from .steps import ddim_mean, ddim_sigma, divisor, predicted_noise


@dataclass(frozen=True, kw_only=True)
class DSG(DDIMMethod):
    """`step_size` is the guidance rate g_r: 0 goes the random way, 1 straight down."""

    lowest_eta: ClassVar[float] = 0.001

    step_size: float = number(0.5, low=0.0, high=100.0)
    eta: Eta = 1.0

    def step(self, state: State, gradient: Tensor | None, inner: Inner) -> Move:
        pred_xstart = state.prediction.pred_xstart
        sigma = ddim_sigma(state.schedule, state.t, self.eta_at(state))
        mean = ddim_mean(state, pred_xstart, predicted_noise(state), sigma)
        if sigma == 0:
            return Move(mean, pred_xstart)
        if gradient is None:
            return Move(mean + sigma * state.noise, pred_xstart)
        mixed = state.noise + self.step_size * (-gradient / divisor(gradient) - state.noise)
        return Move(mean + sigma * mixed / divisor(mixed), pred_xstart)
