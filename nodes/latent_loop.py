"""The core's own loop as a sampler of ComfyUI."""

import math
from collections.abc import Callable
from functools import partial

from torch import Tensor

from ..diffuseit.errors import InputError
from ..diffuseit.guidance.loop import sample
from ..diffuseit.guidance.rng import Seeded
from ..diffuseit.guidance.settings import SamplerSettings
from . import live
from .comfy import devices
from .comfy.latent import PixelAutoencoder, VAEAutoencoder
from .comfy.memory import LatentPlan
from .comfy.sampling import SamplerCall
from .latent_run import LatentRun, Wanted, first_pictures, prepare, with_less_memory
from .verdicts import verdicts_on


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
            agree=run.agree,
            measure_every=math.ceil(visits / live.MEASUREMENTS),
        ):
            devices.hold(run.guests(plan))
            reporter.step(step, partial(first_pictures, backbone, step.x_0))
            sigma = run.sigmas.values[steps - 1 - step.t]
            call.show(step.number * steps // visits, run.sigmas.scale(sigma) * step.x_t, step.x_0)
    pictures = first_pictures(backbone, step.x_0)
    reporter.result(pictures, run.size, verdicts_on(pictures, run.source, run.losses))
    run.note(reporter)
    return step.x_0
