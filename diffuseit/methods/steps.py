"""Parts that methods share: how long a gradient's step is, and the DDIM step.

The step rules, for a gradient of any scale:

- "variance": the gradient times the variance of the step's Gaussian, as the theory has it (Dhariwal & Nichol 2021,
  arXiv 2105.05233). The weights of the losses decide.
- "normalized": the gradient's direction, as long as the step's own noise.
- "freedom": the gradient's direction, as long as the predicted noise, rms(eps) / rms(gradient) (Yu et al. 2023,
  FreeDoM, arXiv 2303.09833, in its code): as long in the last step as in the first.
"""

import math

import torch
from torch import Tensor

from ..models.schedule import Schedule
from .base import State, StepRule


def rms(x: Tensor) -> Tensor:
    """Root mean square of each image: [B, C, H, W] -> [B, 1, 1, 1]."""
    return x.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()


def divisor(x: Tensor) -> Tensor:
    """rms(x), never 0: `x / divisor(x)` has a root mean square of 1 per image, or is 0."""
    return rms(x).clamp_min(torch.finfo(x.dtype).tiny)


def scaled(
    state: State, gradient: Tensor, rule: StepRule, variance: float | Tensor, deviation: float | Tensor
) -> Tensor:
    """`gradient` as long as the rule says. `variance` and `deviation` are of the Gaussian that the step draws from."""
    if rule == "variance":
        return variance * gradient
    length = deviation if rule == "normalized" else rms(predicted_noise(state))
    return length * gradient / divisor(gradient)


def predicted_noise(state: State) -> Tensor:
    """eps, the noise that the network sees in x_t."""
    return state.schedule.eps_from_xstart(state.x_t, state.prediction.pred_xstart, state.t)


def ddim_sigma(schedule: Schedule, t: int, eta: float) -> float:
    """Deviation of the noise that a DDIM step adds (Song et al. 2021, arXiv 2010.02502, eq. 16)."""
    alpha, alpha_prev = float(schedule.alphas_cumprod[t]), float(schedule.alphas_cumprod_prev[t])
    return eta * math.sqrt((1 - alpha_prev) / (1 - alpha)) * math.sqrt(1 - alpha / alpha_prev)


def ddim_mean(state: State, pred_xstart: Tensor, eps: Tensor, sigma: float) -> Tensor:
    """Mean of a DDIM step (eq. 12 there); `eps` need not be the one that belongs to `pred_xstart`."""
    alpha_prev = float(state.schedule.alphas_cumprod_prev[state.t])
    return alpha_prev**0.5 * pred_xstart + max(1 - alpha_prev - sigma**2, 0.0) ** 0.5 * eps


def ddim_step(state: State, pred_xstart: Tensor, eps: Tensor, eta: float) -> Tensor:
    """x_{t-1} of a DDIM step."""
    sigma = ddim_sigma(state.schedule, state.t, eta)
    sample = ddim_mean(state, pred_xstart, eps, sigma)
    return sample + sigma * state.noise if sigma > 0 else sample
