"""The paper's guidance (Kwon & Ye 2023, arXiv 2209.15264), on DDPM and DDIM steps, as the official code has it."""

from torch import Tensor

from .base import Inner, Method, Move, State
from .steps import ddim_step, divisor, guided_noise, predicted_noise, rms


def guided_shift(state: State, gradient: Tensor) -> Tensor:
    """What guidance adds to the mean of p(x_{t-1} | x_t), [B, C, H, W] (`steps.py` has the step rules).

    "variance" with step_size 1 is the paper's (Dhariwal & Nichol 2021, algorithm 1).
    """
    step_size = state.control.step_size
    if state.control.step_rule == "variance":
        return -step_size * state.prediction.log_variance.exp() * gradient
    if state.control.step_rule == "normalized":
        deviation = (0.5 * state.prediction.log_variance).exp()
        return -step_size * deviation * gradient / divisor(gradient)
    return -step_size * rms(predicted_noise(state)) * gradient / divisor(gradient)


def ddpm_move(state: State, gradient: Tensor | None, inner: Inner) -> Move:
    """Ancestral step with a shifted mean; the reported prediction is the network's own."""
    sample = state.prediction.mean
    if gradient is not None:
        sample = sample + guided_shift(state, gradient)
    if state.index > 0:
        sample = sample + (0.5 * state.prediction.log_variance).exp() * state.noise
    return Move(sample, state.prediction.pred_xstart)


def ddim_move(state: State, gradient: Tensor | None, inner: Inner) -> Move:
    """DDIM step from the shifted noise (Dhariwal & Nichol 2021, algorithm 2); reports the guided prediction."""
    eps = predicted_noise(state)
    if gradient is not None:
        eps = guided_noise(state, eps, gradient)
    pred_xstart = state.schedule.xstart_from_eps(state.x_t, eps, state.index)
    return Move(ddim_step(state, pred_xstart, eps), pred_xstart)


ddpm = Method(ddpm_move)
ddim = Method(ddim_move, adds_noise=False)
