"""Guidance of one run of ComfyUI's sampling: checks, memory, what the losses move, and what is shown."""

import logging
import math
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..diffuseit.errors import InputError
from ..diffuseit.guidance.loop import sample
from ..diffuseit.guidance.prediction import Guided, PredictionGuidance, PredictionSettings
from ..diffuseit.guidance.rng import Seeded
from ..diffuseit.guidance.settings import SamplerSettings
from ..diffuseit.images.resize import Fit
from ..diffuseit.losses import BoundLoss
from ..diffuseit.models.base import Backbone
from ..diffuseit.models.latent import LatentDiffusion, Sigmas
from . import estimate, live
from .comfy import devices, events, memory
from .comfy.latent import PixelAutoencoder, VAEAutoencoder
from .comfy.memory import LatentPlan
from .comfy.sampling import Denoise, SamplerCall, Sampling
from .run import check_chain, feature_networks, fitted, named_features
from .types import Losses, Network

Found = TypeVar("Found")


@dataclass(frozen=True, eq=False)
class Wanted:
    """What a node asks for: the losses, the source [B, 3, H, W] in [-1, 1] of any size, and the VAE.

    `node` is the node's id, by which the front end shows the run.
    """

    image: Tensor
    losses: Losses
    vae: Any | None
    view_size: int
    node: str


@dataclass(frozen=True, eq=False)
class LatentRun:
    """Everything that a run needs, checked. `source` has the size of the decoded latents."""

    wanted: Wanted
    sampling: Sampling
    sigmas: Sigmas
    autoencoder: PixelAutoencoder | VAEAutoencoder
    source: Tensor
    losses: tuple[BoundLoss, ...]

    @property
    def features(self) -> list[Network[Any]]:
        """Return the handles of the feature networks."""
        return [network for one in self.wanted.losses for network in one.networks]

    def guests(self, plan: LatentPlan) -> list[Network[Any]]:
        """Return the networks that stay on the device beside the model."""
        vae = [] if self.autoencoder.guest is None else [self.autoencoder.guest]
        return vae + ([] if plan.options.offload is not None else self.features)

    @property
    def shrink(self) -> int:
        """Return how much smaller latents may get until they decode to the size of the view."""
        return max(1, min(self.source.shape[-2:]) // self.wanted.view_size)

    def required(self, plan: LatentPlan) -> int:
        """Return the estimated bytes on the device, without weights that stay there."""
        from ..diffuseit.performance.memory import guidance_bytes, offload_bytes

        networks: Any = feature_networks(self.losses)
        height, width = (max(1, side // plan.shrink) for side in self.sampling.model.size)
        batch, factor = len(self.source), self.autoencoder.factor
        graph = self.autoencoder.footprint((height, width), batch, plan.recompute)
        smaller = min(1.0, self.wanted.view_size / (factor * min(height, width)))
        view = (round(factor * height * smaller), round(factor * width * smaller))
        waiting = offload_bytes([network for network, _ in networks], plan.options)
        return waiting + guidance_bytes(graph, networks, batch, view, plan.options)

    def needs(self, plan: LatentPlan) -> int:
        """Return the estimated bytes on the device, weights included."""
        return devices.weights_bytes(self.guests(plan)) + self.required(plan)

    def backbone(self, denoise: Callable[[Tensor, float], Tensor], plan: LatentPlan) -> LatentDiffusion:
        """Return the core's view of the model under a plan."""
        self.autoencoder.release(plan.recompute)
        return LatentDiffusion(
            denoise,
            self.sigmas,
            self.autoencoder,
            self.sampling.model.device,
            channels=self.sampling.model.shape[1],
            view_size=self.wanted.view_size,
            shrink=plan.shrink,
        )

    def plans(self) -> list[LatentPlan]:
        """Return the plans to try, one after the other."""
        return memory.latent_plans(self.needs, self.sampling.model.patcher, self.shrink)

    def reporter(self, plan: LatentPlan, total: int) -> live.Live:
        """Return what shows the run on the node."""
        queued = events.running()
        networks = [*self.autoencoder.networks().items(), *named_features(feature_networks(self.losses))]
        facts = live.Facts(
            workflow=live.workflow_id(queued.extra_pnginfo),
            prompt=queued.id,
            node=self.wanted.node,
            run=uuid.uuid4().hex[:8],
            total=total,
            batch=len(self.source),
            chain=[(one.node, one.bound.loss) for one in self.wanted.losses],
            memory=self.needs(plan),
            networks=live.named(networks),
            size=(self.source.shape[-1], self.source.shape[-2]),
            source=self.source[0],
        )
        return live.Live(facts, events.tell, live.throttle())

    def note(self, reporter: live.Live) -> None:
        """Record what the run took."""
        estimate.note(events.running().nodes, reporter.figures(), self.wanted.node)

    def interruptible(self) -> Any:
        """Return a context in which every network checks for an interruption."""
        networks = [network for network, _ in feature_networks(self.losses)]
        return events.interruptible([*self.autoencoder.networks().values(), *networks])


def prepare(wanted: Wanted, sampling: Sampling) -> LatentRun:
    """Check everything, and fit images and masks to the latents. Raise `InputError` before anything is loaded."""
    check_chain(wanted.losses)
    model, image = sampling.model, wanted.image
    model.check(sampling.parts)
    sigmas = model.sigmas(sampling.sigmas)
    autoencoder = model.autoencoder(wanted.vae)
    batch = model.shape[0]
    if len(image) not in (1, batch):
        raise InputError(f"{len(image)} images for {batch} latents: give one, or one for each")
    canvas = (model.size[0] * autoencoder.factor, model.size[1] * autoencoder.factor)
    fit = Fit.covering((image.shape[-2], image.shape[-1]), canvas)
    image = image.expand(batch, -1, -1, -1)
    losses = tuple(fitted(one, fit, image) for one in wanted.losses)
    return LatentRun(wanted, sampling, sigmas, autoencoder, fit.apply(image), losses)


def with_less_memory(plans: list[LatentPlan], attempt: Callable[[LatentPlan], Found]) -> Found:
    """Return `attempt` of the first plan that the device has memory for."""
    for number, plan in enumerate(plans, start=1):
        try:
            return attempt(plan)
        except Exception as error:
            if not memory.out_of_memory(error):
                raise
            if number == len(plans):
                raise RuntimeError(memory.LATENTS_OUT_OF_MEMORY) from error
        logging.warning("DiffuseIT: out of memory; trying again, slower and with less")
        memory.free()
    raise AssertionError("there is always a plan")


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
                self._reporter.result(self._last)
                self.run.note(self._reporter)
        finally:
            self.run.autoencoder.release()

    def guests(self) -> tuple[list[Network[Any]], int]:
        return self.run.guests(self._plans[0]), self.run.required(self._plans[0])

    def guides(self, sigma: float) -> bool:
        return self._guidance.guides(sigma)

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
            run.losses, run.source, backbone, self.settings, rng=self._rng, options=plan.options
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
        def picture() -> Tensor:
            self._last = _picture(self._guidance.guidance.backbone, found.pred_xstart)
            return self._last

        total = max(self.run.sigmas.steps, self._reported + 1)
        t = self.run.sigmas.steps - 1 - step
        look = _Look(self._reported, total, t, range(len(found.pred_xstart)), found.terms, found.shares)
        self._reporter.step(look, picture)
        self._reported += 1


@torch.no_grad()
def _picture(backbone: Backbone, x_0: Tensor) -> Tensor:
    """Return the first of the images [B, C, h, w] as the losses see it: [3, H, W] on the CPU."""
    return backbone.show(x_0[:1])[0].cpu()


class _Known:
    """An autoencoder that knows the latents of the source."""

    def __init__(self, autoencoder: PixelAutoencoder | VAEAutoencoder, latents: Tensor):
        self.factor, self.decode, self.networks = (
            autoencoder.factor,
            autoencoder.decode,
            autoencoder.networks,
        )
        self._latents = latents

    def encode(self, image: Tensor) -> Tensor:
        return self._latents


def sample_latents(
    wanted: Wanted, settings_of: Callable[[int], SamplerSettings], call: SamplerCall
) -> Tensor:
    """Return x_0 of the core's loop, from the x and over the sigmas of `call`.

    `settings_of` returns the settings for a number of steps. Raise `InputError` before heavy work.
    """
    run = prepare(wanted, call.sampling)
    if run.sigmas.values[-1] > 0:
        raise InputError(
            "the sigmas do not end at 0: use DiffuseIT Guide Model, which guides a part of a run too"
        )
    settings = settings_of(run.sigmas.steps)
    try:
        return with_less_memory(run.plans(), lambda plan: _loop(run, settings, call, plan))
    finally:
        run.autoencoder.release()


def _loop(run: LatentRun, settings: SamplerSettings, call: SamplerCall, plan: LatentPlan) -> Tensor:
    model, steps, visits = call.sampling.model.patcher, run.sigmas.steps, len(settings.timetable)
    if plan.options.offload is not None:
        devices.unload_others(model, run.guests(plan))
        devices.rest(run.features)
    devices.load_beside(model, run.guests(plan), run.required(plan))
    if settings.ever_backward:
        devices.prepare_backward(model)
    backbone = run.backbone(call.denoise, plan)
    if call.latent_image.any():
        backbone.autoencoder = _Known(run.autoencoder, call.latent_image)
    mask = call.mask
    if mask is not None and backbone.size_multiple > 1:
        mask = mask.repeat_interleave(backbone.size_multiple, -1).repeat_interleave(
            backbone.size_multiple, -2
        )
    rng = Seeded(call.sampling.seed, len(run.source))
    rng.noise(call.x.shape)  # ComfyUI drew the noise of x from this seed
    from_noise = settings.method.start_at == "noise"
    reporter = run.reporter(plan, visits)
    with run.interruptible(), reporter:
        for step in sample(
            backbone,
            run.source,
            run.losses,
            settings,
            rng=rng,
            x_start=call.x / run.sigmas.scale(run.sigmas.values[0]) if from_noise else None,
            mask=mask,
            options=plan.options,
            measure_every=math.ceil(visits / live.MEASUREMENTS),
        ):
            devices.hold(run.guests(plan))
            reporter.step(step, partial(_picture, backbone, step.x_0))
            sigma = run.sigmas.values[steps - 1 - step.t]
            call.show(step.number * steps // visits, run.sigmas.scale(sigma) * step.x_t, step.x_0)
    reporter.result(_picture(backbone, step.x_0))
    run.note(reporter)
    return step.x_0


def _unasked(x: Tensor, sigma: float) -> Tensor:
    raise AssertionError("ComfyUI's sampler asks the model")
