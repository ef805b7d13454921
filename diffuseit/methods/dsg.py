"""Guidance with a spherical Gaussian constraint (Yang et al. 2024, DSG, arXiv 2402.03201).

Noise of deviation sigma_t in n dimensions lies close to the sphere of radius sqrt(n) sigma_t around the step's mean.
The step goes to a point of that sphere: towards the steepest descent, d* = -sqrt(n) sigma_t gradient / |gradient|,
mixed with the random direction that an unguided step would take.
"""

from torch import Tensor

from .base import Inner, Method, Move, State
from .steps import ddim_mean, ddim_sigma, divisor, predicted_noise


def move(state: State, gradient: Tensor | None, inner: Inner) -> Move:
    """`step_size` is the guidance rate g_r: 0 goes the random way, 1 straight down. The step rule has no part in it."""
    pred_xstart = state.prediction.pred_xstart
    mean = ddim_mean(state, pred_xstart, predicted_noise(state))
    sigma = ddim_sigma(state.schedule, state.index, state.control.eta)
    if sigma == 0:
        return Move(mean, pred_xstart)
    if gradient is None:
        return Move(mean + sigma * state.noise, pred_xstart)
    mixed = state.noise + state.control.step_size * (-gradient / divisor(gradient) - state.noise)
    return Move(mean + sigma * mixed / divisor(mixed), pred_xstart)


dsg = Method(move, needs_noise=True, eta=1.0)
