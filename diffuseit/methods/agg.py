"""Asymmetric Gradient Guidance (Kwon & Ye 2023, "Improving Diffusion-based Image Translation using Asymmetric
Gradient Guidance", arXiv 2306.04396).

One gradient through the network moves the prediction. Optimizer steps on the prediction alone move it further. The DDIM
step then uses the guided prediction but the unguided noise: the asymmetry. The run starts at the DDIM inversion of the
source, and an `AnchorLoss` keeps it near.
"""

from dataclasses import dataclass

from torch import Tensor

from ..schema import number
from .adamw import adamw
from .base import DDIMMethod, Eta, Inner, Move, Start, State, StepRule
from .steps import ddim_step, predicted_noise, scaled

OFFICIAL_ETA = ((19 / 60, 0.7), (39 / 60, 0.7), (1.0, 1.0))
"""Of 60 levels, 19 are guided, and the last 21 take the noisiest steps."""


@dataclass(frozen=True, kw_only=True)
class AGG(DDIMMethod):
    """AGG as in the paper: all `inner_steps` of AdamW at rate `inner_rate` count, with the losses' own views.

    With `symmetric`, guidance moves the noise too.
    """

    step_rule: StepRule = "variance"
    inner_steps: int = number(3, low=0, high=100)
    inner_rate: float = number(0.02, low=1e-6, high=10.0)
    symmetric: bool = False
    eta: Eta = OFFICIAL_ETA
    start: Start = "inversion"

    @property
    def start_at(self) -> Start:
        return self.start

    def step(self, state: State, gradient: Tensor | None, inner: Inner) -> Move:
        eps, pred_xstart = predicted_noise(state), state.prediction.pred_xstart
        if gradient is not None:
            sigma = float(state.schedule.sqrt_one_minus_alphas_cumprod[state.t])
            guided_eps = eps + self.step_size * scaled(state, gradient, self.step_rule, sigma, sigma)
            pred_xstart = self._optimize(
                state.schedule.xstart_from_eps(state.x_t, guided_eps, state.t), state, inner
            )
        if self.symmetric:
            eps = state.schedule.eps_from_xstart(state.x_t, pred_xstart, state.t)
        return Move(ddim_step(state, pred_xstart, eps, self.eta_at(state)), pred_xstart)

    def _optimize(self, pred_xstart: Tensor, state: State, inner: Inner) -> Tensor:
        return adamw(pred_xstart, inner.gradient, self.inner_steps, self.inner_rate)


@dataclass(frozen=True, kw_only=True)
class OfficialAGG(AGG):
    """AGG as its published code computes it, for comparison.

    The result of the last of the `inner_steps` is discarded; only the losses see where it starts. In inner steps,
    losses without a view of their own see pred_xstart. The noised view mixes by the factor of timestep
    floor(t * N / 1000).
    """

    inner_steps: int = number(1, low=0, high=100)

    def _optimize(self, pred_xstart: Tensor, state: State, inner: Inner) -> Tensor:
        if self.inner_steps == 0:
            return pred_xstart
        noised_at = state.t * len(state.schedule) // 1000

        def gradient(pred_xstart: Tensor) -> Tensor:
            return inner.gradient(pred_xstart, noised_at, "pred_xstart")

        pred_xstart = adamw(pred_xstart, gradient, self.inner_steps - 1, self.inner_rate)
        inner.observe(pred_xstart, noised_at, "pred_xstart")
        return pred_xstart
