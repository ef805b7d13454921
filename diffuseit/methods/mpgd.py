"""Manifold Preserving Guided Diffusion (He et al. 2023, arXiv 2311.16424).

The gradient is taken at the prediction x_{0|t} and moves it, x_{0|t} - c_t gradient. The DDIM step uses the moved
prediction and the unguided noise. The diffusion network never runs a backward pass.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from ..schema import number
from .base import DDIMMethod, Eta, Inner, Move, State, StepRule
from .steps import ddim_sigma, ddim_step, predicted_noise, scaled


@dataclass(frozen=True, kw_only=True)
class MPGD(DDIMMethod):
    """One step of gradient descent on the prediction, and `inner_steps` more.

    c_t is step_size times a factor of the step rule. "variance": 1 - abar, the variance of x_t around x_0.
    "normalized": so that x_{t-1} moves by the deviation of p(x_{t-1} | x_t), as in the methods with a gradient at x_t.
    "freedom": rms(eps) / rms(gradient), as in MPGD's code. With `symmetric`, guidance moves the noise too.
    """

    gradient_at: ClassVar[Literal["x_t", "pred_xstart"]] = "pred_xstart"

    step_rule: StepRule = "variance"
    inner_steps: int = number(0, low=0, high=100)
    symmetric: bool = False
    eta: Eta = 1.0

    def step(self, state: State, gradient: Tensor | None, inner: Inner) -> Move:
        eps, pred_xstart = predicted_noise(state), state.prediction.pred_xstart
        if gradient is not None:
            pred_xstart = self.guided_prediction(state, gradient, inner)
        if self.symmetric:
            eps = state.schedule.eps_from_xstart(state.x_t, pred_xstart, state.t)
        return Move(ddim_step(state, pred_xstart, eps, self.eta_at(state)), pred_xstart)

    def guided_prediction(self, state: State, gradient: Tensor, inner: Inner) -> Tensor:
        """Return the prediction of `state` moved by `gradient` and by `inner_steps` more."""
        pred_xstart = self._descend(state, state.prediction.pred_xstart, gradient)
        for _ in range(self.inner_steps):
            pred_xstart = self._descend(state, pred_xstart, inner.gradient(pred_xstart))
        return pred_xstart

    def _descend(self, state: State, pred_xstart: Tensor, gradient: Tensor) -> Tensor:
        """Return x_{0|t} - c_t gradient."""
        schedule, t = state.schedule, state.t
        variance = 1 - float(schedule.alphas_cumprod[t])
        deviation = ddim_sigma(schedule, t, 1.0) / float(schedule.alphas_cumprod_prev[t]) ** 0.5
        return pred_xstart - self.step_size * scaled(state, gradient, self.step_rule, variance, deviation)
