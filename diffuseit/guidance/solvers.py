"""Solvers for the steps after guidance has ended: fewer levels for the same image.

Each solves the probability flow ODE in data prediction (Lu et al. 2022, DPM-Solver++, arXiv 2211.01095), with
alpha = sqrt(abar), sigma = sqrt(1 - abar), lambda = log(alpha / sigma), h the difference of lambda, and D the network's
pred_xstart. A solver lives for one run, remembers what it needs of it, and goes from any level to any cleaner one;
level -1 is the clean image, which every solver takes from the last prediction.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

from ..models.schedule import Schedule

SolverName = Literal["ddim", "dpm++2m", "unipc"]


class Solver(Protocol):
    """`solver(x_t, pred_xstart, index, target, noise, eta)`: x at level `target`, all [B, C, H, W]."""

    def __call__(
        self, x_t: Tensor, pred_xstart: Tensor, index: int, target: int, noise: Tensor, eta: float
    ) -> Tensor: ...


@dataclass(frozen=True)
class _Point:
    """A level that was visited: the sample the solver left from, the prediction there, and lambda."""

    x: Tensor
    data: Tensor
    alpha: float
    sigma: float

    @property
    def half_log_snr(self) -> float:
        return math.log(self.alpha / self.sigma)


def _point(schedule: Schedule, index: int, x: Tensor, data: Tensor) -> _Point:
    alpha, sigma = schedule.sqrt_alphas_cumprod[index], schedule.sqrt_one_minus_alphas_cumprod[index]
    return _Point(x, data, float(alpha), float(sigma))


def _exponential(point: _Point, target: _Point) -> Tensor:
    """The first-order step: exact where D stays as it is on the way (DPM-Solver++, eq. 8; DDIM without noise)."""
    h = target.half_log_snr - point.half_log_snr
    return target.sigma / point.sigma * point.x - target.alpha * math.expm1(-h) * point.data


class DDIM:
    """Song et al. 2021, arXiv 2010.02502, eq. 12 and 16: the only one here with noise (eta)."""

    def __init__(self, schedule: Schedule):
        self.schedule = schedule

    def __call__(
        self, x_t: Tensor, pred_xstart: Tensor, index: int, target: int, noise: Tensor, eta: float
    ) -> Tensor:
        if target < 0:
            return pred_xstart
        alpha, alpha_to = (float(self.schedule.alphas_cumprod[i]) for i in (index, target))
        sigma = eta * math.sqrt((1 - alpha_to) / (1 - alpha) * (1 - alpha / alpha_to))
        eps = self.schedule.eps_from_xstart(x_t, pred_xstart, index)
        mean = alpha_to**0.5 * pred_xstart + max(1 - alpha_to - sigma**2, 0.0) ** 0.5 * eps
        return mean + sigma * noise if sigma > 0 else mean


class DPMSolver2M:
    """DPM-Solver++(2M), algorithm 2 of arXiv 2211.01095: D is extrapolated from the last two predictions."""

    def __init__(self, schedule: Schedule):
        self.schedule = schedule
        self.before: _Point | None = None

    def __call__(
        self, x_t: Tensor, pred_xstart: Tensor, index: int, target: int, noise: Tensor, eta: float
    ) -> Tensor:
        if target < 0:
            return pred_xstart
        here = _point(self.schedule, index, x_t, pred_xstart)
        there = _point(self.schedule, target, x_t, pred_xstart)
        data = pred_xstart
        if self.before is not None:
            h = there.half_log_snr - here.half_log_snr
            r = (here.half_log_snr - self.before.half_log_snr) / h
            data = (1 + 1 / (2 * r)) * pred_xstart - 1 / (2 * r) * self.before.data
        self.before = here
        return _exponential(_Point(x_t, data, here.alpha, here.sigma), there)


class UniPC:
    """UniPC of order 2 with B(h) = e^h - 1 (Zhao et al. 2023, arXiv 2302.04867, in data prediction).

    The predictor steps like DPM-Solver++(2M); once the network has seen the new level, the corrector takes the step
    again with what it saw, and the run goes on from there. No further pass of the network.
    """

    def __init__(self, schedule: Schedule):
        self.schedule = schedule
        self.points: list[_Point] = []

    def __call__(
        self, x_t: Tensor, pred_xstart: Tensor, index: int, target: int, noise: Tensor, eta: float
    ) -> Tensor:
        if target < 0:
            return pred_xstart
        here = _point(self.schedule, index, x_t, pred_xstart)
        if self.points:
            here = _Point(self._correct(here), pred_xstart, here.alpha, here.sigma)
        self.points = [*self.points[-1:], here]
        there = _point(self.schedule, target, here.x, pred_xstart)
        sample = _exponential(here, there)
        if len(self.points) > 1:
            h = there.half_log_snr - here.half_log_snr
            slope = _slope(here, self.points[0], h)
            sample = sample - there.alpha * math.expm1(-h) * 0.5 * slope
        return sample

    def _correct(self, here: _Point) -> Tensor:
        """The sample at `here`, stepped to again from the point before, now that its prediction is known."""
        origin = self.points[-1]
        h = here.half_log_snr - origin.half_log_snr
        correction = 0.5 * (here.data - origin.data)
        if len(self.points) > 1:
            ratio = (self.points[0].half_log_snr - origin.half_log_snr) / h
            first, second = _corrector_weights(-h, ratio)
            correction = first * _slope(origin, self.points[0], h) + second * (here.data - origin.data)
        return _exponential(origin, here) - here.alpha * math.expm1(-h) * correction


def _slope(point: _Point, before: _Point, h: float) -> Tensor:
    """How much D changes over a distance h in lambda, as the last two points have it."""
    return (before.data - point.data) / ((before.half_log_snr - point.half_log_snr) / h)


def _corrector_weights(h: float, ratio: float) -> tuple[float, float]:
    """Weights of the differences at `ratio` and at 1 that match phi_2 and phi_3 (UniPC, theorem 3.1)."""
    exponential = math.expm1(h)
    phi2 = exponential / h - 1
    phi3 = phi2 / h - 0.5
    b1, b2 = phi2 / exponential, 2 * phi3 / exponential
    second = (b2 - ratio * b1) / (1 - ratio)
    return b1 - second, second


SOLVERS: dict[str, Callable[[Schedule], Solver]] = {"ddim": DDIM, "dpm++2m": DPMSolver2M, "unipc": UniPC}
