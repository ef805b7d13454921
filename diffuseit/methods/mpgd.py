"""Manifold Preserving Guided Diffusion (He et al. 2023, arXiv 2311.16424).

The gradient is taken at the prediction x_{0|t} and moves it there, x_{0|t} - c_t gradient; the DDIM step takes the
moved prediction and the network's own noise. The denoising network is never run backwards.
"""

from torch import Tensor

from .base import Inner, Method, Move, State
from .steps import ddim_sigma, ddim_step, divisor, predicted_noise, rms


def guided_prediction(state: State, pred_xstart: Tensor, gradient: Tensor, eps: Tensor) -> Tensor:
    """x_{0|t} - c_t gradient.

    c_t by the step rule, times step_size: "variance" (1 - abar), the variance that x_t has around x_0;
    "normalized" moves x_{t-1} by the deviation of p(x_{t-1} | x_t), as the methods with a gradient at x_t do;
    "freedom" rms(eps) / rms(gradient), as MPGD's own code.
    """
    step_size, index = state.control.step_size, state.index
    if state.control.step_rule == "variance":
        return pred_xstart - step_size * (1 - float(state.schedule.alphas_cumprod[index])) * gradient
    if state.control.step_rule == "normalized":
        length = (
            ddim_sigma(state.schedule, index, 1.0) / float(state.schedule.alphas_cumprod_prev[index]) ** 0.5
        )
        return pred_xstart - step_size * length * gradient / divisor(gradient)
    return pred_xstart - step_size * rms(eps) * gradient / divisor(gradient)


def move(state: State, gradient: Tensor | None, inner: Inner) -> Move:
    """One step of gradient descent on the prediction, and as many more as `inner_steps` says."""
    eps, pred_xstart = predicted_noise(state), state.prediction.pred_xstart
    if gradient is not None:
        pred_xstart = guided_prediction(state, pred_xstart, gradient, eps)
        for _ in range(state.control.inner_steps):
            pred_xstart = guided_prediction(state, pred_xstart, inner.gradient(pred_xstart), eps)
    if state.control.symmetric:
        eps = state.schedule.eps_from_xstart(state.x_t, pred_xstart, state.index)
    return Move(ddim_step(state, pred_xstart, eps), pred_xstart)


mpgd = Method(move, gradient_at="pred_xstart", eta=1.0)
