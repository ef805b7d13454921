"""The paper's guidance (Kwon & Ye 2023, arXiv 2209.15264), on DDPM and DDIM steps, as the official code has it."""

import torch
from torch import Tensor

from .base import Move, State, StepRule


def guided_shift(state: State, gradient: Tensor, step_rule: StepRule, step_size: float) -> Tensor:
    """What guidance adds to the mean of p(x_{t-1} | x_t), [B, C, H, W].

    "variance": step_size * variance * -gradient (Dhariwal & Nichol 2021, algorithm 1; the paper with step_size 1).
    "normalized": step_size * sqrt(variance) * -gradient / rms(gradient) per picture, whatever the loss's scale.
    """
    if step_rule == "variance":
        return -step_size * state.prediction.log_variance.exp() * gradient
    rms = gradient.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    deviation = (0.5 * state.prediction.log_variance).exp()
    return -step_size * deviation * gradient / rms.clamp_min(torch.finfo(gradient.dtype).tiny)


def ddpm(state: State, gradient: Tensor, step_rule: StepRule, step_size: float) -> Move:
    """Ancestral step with a shifted mean; the reported prediction is the network's own."""
    sample = state.prediction.mean + guided_shift(state, gradient, step_rule, step_size)
    if state.index > 0:
        sample = sample + (0.5 * state.prediction.log_variance).exp() * state.noise
    return Move(sample, state.prediction.pred_xstart)


def ddim(state: State, gradient: Tensor, step_rule: StepRule, step_size: float) -> Move:
    """Deterministic step from the shifted noise (Dhariwal & Nichol 2021, algorithm 2); reports the guided one."""
    schedule, i = state.schedule, state.index
    eps = schedule.eps_from_xstart(state.x_t, state.prediction.pred_xstart, i)
    sigma = float(schedule.sqrt_one_minus_alphas_cumprod[i])
    if step_rule == "variance":
        eps = eps + step_size * sigma * gradient
    else:
        rms = gradient.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
        eps = eps + step_size * sigma * gradient / rms.clamp_min(torch.finfo(gradient.dtype).tiny)
    pred_xstart = schedule.xstart_from_eps(state.x_t, eps, i)
    alpha_prev = float(schedule.alphas_cumprod_prev[i])
    sample = alpha_prev**0.5 * pred_xstart + (1 - alpha_prev) ** 0.5 * eps
    return Move(sample, pred_xstart)
