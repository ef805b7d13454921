"""The paper's guidance (Kwon & Ye 2023, arXiv 2209.15264) on DDPM and DDIM steps, as in the official code."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from .base import DDIMMethod, Inner, Method, Move, State, StepRule
from .steps import ddim_step, predicted_noise, scaled


@dataclass(frozen=True, kw_only=True)
class DiffuseIT(Method):
    """Ancestral step with a shifted mean (Dhariwal & Nichol 2021, algorithm 1). It reports the network's prediction.

    Step rule "variance" with step_size 1 is the paper's.
    """

    step_rule: StepRule = "variance"

    def step(self, state: State, gradient: Tensor | None, inner: Inner) -> Move:
        sample, log_variance = state.prediction.mean, state.prediction.log_variance
        deviation = (0.5 * log_variance).exp()
        if gradient is not None:
            shift = scaled(state, gradient, self.step_rule, log_variance.exp(), deviation)
            sample = sample - self.step_size * shift
        if state.t > 0:
            sample = sample + deviation * state.noise
        return Move(sample, state.prediction.pred_xstart)


@dataclass(frozen=True, kw_only=True)
class DiffuseITDDIM(DDIMMethod):
    """DDIM step with shifted noise (Dhariwal & Nichol 2021, algorithm 2). It reports the guided prediction."""

    adds_noise: ClassVar[bool] = False

    step_rule: StepRule = "variance"

    def step(self, state: State, gradient: Tensor | None, inner: Inner) -> Move:
        eps = predicted_noise(state)
        if gradient is not None:
            sigma = float(state.schedule.sqrt_one_minus_alphas_cumprod[state.t])
            eps = eps + self.step_size * scaled(state, gradient, self.step_rule, sigma, sigma)
        pred_xstart = state.schedule.xstart_from_eps(state.x_t, eps, state.t)
        return Move(ddim_step(state, pred_xstart, eps, self.eta_at(state)), pred_xstart)
