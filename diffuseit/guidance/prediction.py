"""Guidance inside a foreign sampler: the losses move each prediction of x_0 that the sampler asks for.

The sampler keeps its own steps, noise and conditioning. The gradient is taken at the prediction, as in MPGD (He et al.
2023, arXiv 2311.16424), so that the diffusion network runs forward only; or at x, back through the network.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..errors import InputError
from ..losses.base import BoundLoss
from ..methods import MPGD, State
from ..models.base import Prediction
from ..models.latent import LatentDiffusion
from ..models.schedule import Schedule
from ..performance.options import FULL_SPEED, Execution
from ..schema import check, number
from .balance import BalanceMode
from .guidance import Guidance, InnerGuidance
from .loop import Agree
from .rng import Rng, Seeded
from .settings import SamplerSettings


@dataclass(frozen=True, kw_only=True)
class PredictionSettings:
    """When and how far the losses move predictions.

    `method` moves them; if it is `symmetric`, the sampler's noise follows the moved prediction, else it stays what the
    network predicted. That is exact for samplers whose steps are Euler's. The losses act in every `every`-th step from
    fraction `guide_from` of the run to `guide_until`. `anchor` is the part of the way to the source's latent that each
    of those predictions goes beforehand, less and less toward the end of the run; it needs no decoder. `balance` is
    that of `SamplerSettings`.
    Raise `InputError` for numbers that cannot work.
    """

    method: MPGD = field(default_factory=lambda: MPGD(step_rule="normalized", symmetric=True))
    guide_from: float = number(0.0, low=0.0, high=1.0)
    guide_until: float = number(0.85, low=0.0, high=1.0)
    every: int = number(1, low=1, high=1000)
    anchor: float = number(0.0, low=0.0, high=1.0)
    balance: BalanceMode = "fixed"

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Guided:
    """A moved prediction [B, C, H, W], what the losses [B] there were, and their shares (see `Step`)."""

    pred_xstart: Tensor
    terms: dict[str, Tensor] = field(default_factory=dict)
    shares: dict[int, Tensor] = field(default_factory=dict)


class PredictionGuidance:
    """The losses of one run of a sampler, bound to the `source` [B, 3, H, W] in [-1, 1].

    `backbone` gives the sigmas and the autoencoder; its network is not asked. In each step, whether the losses act or
    not, `agree` replaces the predictions of the batch before the losses see them. Raise `InputError` without losses.
    """

    def __init__(
        self,
        losses: Sequence[BoundLoss],
        source: Tensor,
        backbone: LatentDiffusion,
        settings: PredictionSettings,
        seed: int = 0,
        *,
        rng: Rng | None = None,
        options: Execution = FULL_SPEED,
        agree: Agree | None = None,
    ):
        if not losses:
            raise InputError("there are no losses, so nothing would guide the image: add at least one")
        self.settings, self.sigmas, self.agree = settings, backbone.sigmas, agree
        steps = self.sigmas.steps
        sampler = SamplerSettings(
            steps=steps,
            skip=0,
            resample=1,
            method=settings.method,
            guide_from=settings.guide_from,
            guide_until=settings.guide_until,
            balance=settings.balance,
        )
        self.visits = sampler.timetable
        source = source.to(backbone.device, torch.float32)
        rng = rng or Seeded(seed, len(source))
        self.guidance = Guidance(losses, source, backbone, sampler, rng, options=options)

    def guides(self, sigma: float) -> bool:
        """Return whether the losses act at `sigma`."""
        step = self.sigmas.at(sigma)
        return self.visits[step].guided and step % self.settings.every == 0

    def guide(self, x: Tensor, pred_xstart: Tensor, sigma: float, measure: bool = False) -> Guided:
        """Move `pred_xstart`, predicted from `x` at `sigma`; both [B, C, H, W]. `measure` asks for shares."""
        pred_xstart = self._agreed(pred_xstart)
        if not self.guides(sigma):
            return Guided(pred_xstart)
        return self._guided(x / self.sigmas.scale(sigma), pred_xstart, sigma, measure)

    def guide_through(
        self, x: Tensor, predict: Callable[[Tensor], Tensor], sigma: float, measure: bool = False
    ) -> Guided:
        """Return `predict(x)`, moved by the gradient at `x` [B, C, H, W], back through `predict`, which runs once.

        Raise `InputError` if its result has no graph.
        """
        if not self.guides(sigma):
            return Guided(self._agreed(predict(x)))
        scale = self.sigmas.scale(sigma)
        with torch.enable_grad():
            x_t = (x / scale).detach().requires_grad_()
            pred_xstart = self._agreed(predict(scale * x_t))
        if not pred_xstart.requires_grad:
            raise InputError("no gradient comes back through this diffusion model: take it at the prediction")
        return self._guided(x_t, pred_xstart, sigma, measure)

    def _agreed(self, pred_xstart: Tensor) -> Tensor:
        return pred_xstart if self.agree is None else self.agree(pred_xstart)

    def _guided(self, x_t: Tensor, pred_xstart: Tensor, sigma: float, measure: bool) -> Guided:
        """Return `pred_xstart` moved, by the gradient at `x_t` if that has a graph."""
        visit, sigma_next = self.visits[self.sigmas.at(sigma)], self.sigmas.below(sigma)
        levels = [self.sigmas.level(value) for value in (sigma_next, sigma) if value > 0]
        schedule, t = Schedule.of_levels(levels), len(levels) - 1
        drawn = pred_xstart
        if self.settings.anchor > 0:
            drawn = torch.lerp(pred_xstart, self.guidance.x_0, self.settings.anchor * (1 - visit.progress))
        prediction = Prediction(drawn, drawn, torch.zeros(()))
        found = self.guidance.gradient(prediction, x_t, visit, measure)
        with torch.no_grad():
            prediction, pred_xstart, moved = prediction.detach(), pred_xstart.detach(), drawn.detach()
            if found.gradient is not None:
                gradient = found.gradient
                if x_t.requires_grad:
                    # A step of the noise by sqrt(1 - abar) * gradient moves x_0 by (1 - abar) / sqrt(abar) * gradient.
                    gradient = gradient / float(schedule.sqrt_alphas_cumprod[t])
                state = State(x_t.detach(), prediction, schedule, t, torch.zeros_like(x_t), visit.level)
                inner = InnerGuidance(self.guidance, state.x_t, visit)
                moved = self.settings.method.guided_prediction(state, gradient, inner)
            if not self.settings.method.symmetric:
                moved = pred_xstart + self._lengthening(sigma, sigma_next) * (moved - pred_xstart)
        return Guided(moved, found.terms, found.shares)

    def _lengthening(self, sigma: float, sigma_next: float) -> float:
        """Return by how much a move is made longer so that an Euler step keeps the noise that was predicted.

        Euler's step leads to a * p + b * x with b = sigma_next / sigma and a = 1 - b. The wanted one leads to
        signal_next * moved + sigma_next * (x - signal * p) / sigma. They agree if the p of the former moves this far.
        """
        return self.sigmas.signal(sigma_next) / (1 - sigma_next / sigma)
