"""Guidance inside a sampler of ComfyUI: the losses move each prediction that it asks for."""

import math
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from torch import Tensor

from ..diffuseit.guidance.prediction import Guided, PredictionGuidance, PredictionSettings
from ..diffuseit.guidance.rng import Seeded
from . import live
from .comfy import devices
from .comfy.memory import LatentPlan
from .comfy.sampling import Denoise
from .latent_run import LatentRun, first_pictures, with_less_memory
from .types import Network


@dataclass(frozen=True)
class _Look:
    """A step of ComfyUI's sampler, for `live.Live`."""

    number: int
    total: int
    t: int
    items: range
    terms: Mapping[str, Tensor]
    shares: Mapping[int, Tensor]
    restarted: bool = field(default=False, init=False)


class PredictionSession:
    """Moves the predictions of one run. It is a context, which ends what the run has begun, however it ends."""

    def __init__(self, run: LatentRun, settings: PredictionSettings, through: bool):
        self.run, self.settings, self.through = run, settings, through
        self._plans = run.plans()
        self._rng = Seeded(run.sampling.seed, len(run.source))
        self._guidance = with_less_memory(self._plans, self._bound)
        steps = run.sigmas.steps
        self._reporter = run.reporter(self._plans[0], steps)
        self._measured = math.ceil(steps / live.MEASUREMENTS)
        self._reported, self._last_step = 0, -1
        self._last: Tensor | None = None
        self._open = ExitStack()

    def __enter__(self) -> "PredictionSession":
        self._open.enter_context(self.run.interruptible())
        return self

    def begin(self) -> None:
        self._open.enter_context(self._reporter)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._open.__exit__(kind, error, trace)
            if kind is None and self._last is not None:
                self._reporter.result(self._last, self.run.size)
                self.run.note(self._reporter)
        finally:
            self.run.autoencoder.release()

    def guests(self) -> list[Network[Any]]:
        return self.run.guests(self._plans[0])

    def required(self) -> int:
        return self.run.required(self._plans[0])

    def guides(self, sigma: float) -> bool:
        return self.run.agreement is not None or self._guidance.guides(sigma)

    def guided(self, x: Tensor, denoise: Denoise, sigma: float) -> Tensor:
        step = self.run.sigmas.at(sigma)
        first = step > self._last_step
        measure = first and self._reported % self._measured == 0
        states = [generator.get_state() for generator in self._rng.generators]

        def attempt(plan: LatentPlan) -> Guided:
            if plan is not self._plans[0]:
                self._give_way(plan, states)
            if self.through:
                return self._guidance.guide_through(x, denoise, sigma, measure)
            return self._guidance.guide(x, denoise(x), sigma, measure)

        found = with_less_memory(self._plans, attempt)
        if first:
            self._last_step = step
            self._report(step, found)
        return found.pred_xstart

    def _bound(self, plan: LatentPlan) -> PredictionGuidance:
        """Bring the networks to the device, and compute what the losses need of source and targets."""
        run = self.run
        self._plans = self._plans[self._plans.index(plan) :]
        if plan.options.offload is not None:
            devices.unload_others(run.sampling.model.patcher, run.guests(plan))
            devices.rest(run.features)
        devices.load(run.guests(plan), run.required(plan))
        backbone = run.backbone(_unasked, plan)
        guidance = PredictionGuidance(
            run.losses,
            run.source,
            backbone,
            self.settings,
            rng=self._rng,
            options=plan.options,
            agree=run.agree,
        )
        if self.settings.anchor > 0:
            # The VAE encodes now, before the model takes the device, and may have been moved for that.
            guidance.guidance.x_0  # noqa: B018
        return guidance

    def _give_way(self, plan: LatentPlan, states: list[Tensor]) -> None:
        """Go on with a plan that needs less memory, from the random numbers of `states`."""
        run, model = self.run, self.run.sampling.model.patcher
        self._plans = self._plans[self._plans.index(plan) :]
        devices.unload_others(model, run.guests(plan))
        if plan.options.offload is not None:
            devices.rest(run.features)
        run.autoencoder.release(plan.recompute)
        self._guidance.guidance.options = plan.options
        self._guidance.guidance.backbone.shrink = plan.shrink
        for generator, state in zip(self._rng.generators, states, strict=True):
            generator.set_state(state)

    def _report(self, step: int, found: Guided) -> None:
        def pictures(count: int) -> Tensor:
            self._last = first_pictures(self._guidance.guidance.backbone, found.pred_xstart, count)
            return self._last

        total = max(self.run.sigmas.steps, self._reported + 1)
        t = self.run.sigmas.steps - 1 - step
        look = _Look(self._reported, total, t, range(len(found.pred_xstart)), found.terms, found.shares)
        self._reporter.step(look, pictures)
        self._reported += 1


def _unasked(x: Tensor, sigma: float) -> Tensor:
    raise AssertionError("ComfyUI's sampler asks the model")
