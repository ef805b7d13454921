"""One run of the sampler on ComfyUI's devices: from the inputs of the node to its result."""

import logging
import math
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from ..diffuseit.api import Result, translate_with
from ..diffuseit.errors import InputError
from ..diffuseit.guidance.loop import Step, check_source
from ..diffuseit.guidance.settings import SamplerSettings
from ..diffuseit.images.full_size import restore
from ..diffuseit.images.resize import Fit, FitMode, cover
from ..diffuseit.losses import BoundLoss
from ..diffuseit.performance.options import Execution
from . import live
from .comfy import devices, events, memory
from .film_run import at_once, check_film, translate_film, windows
from .images import mask_to_core
from .types import Film, Losses, Network, NodeLoss
from .verdicts import look_ahead

SIZES = ("model", "source")
"""The sizes that a result may have: that of the model, or that of the source."""


@dataclass(frozen=True, eq=False)
class Run:
    """Everything that a run needs, checked.

    `source` and `mask` have the size that the model works at, `original` and `original_mask` the size of the input.
    """

    ddpm: Network[Any]
    losses: tuple[BoundLoss, ...]
    chain: Losses
    settings: SamplerSettings
    seed: int
    fit: Fit
    source: Tensor
    original: Tensor
    mask: Tensor | None = None
    original_mask: Tensor | None = None
    colors: Tensor | None = None
    film: Film | None = None

    @property
    def networks(self) -> list[Network[Any]]:
        """Return the handles of all networks, the diffusion model first."""
        return [self.ddpm, *(network for one in self.chain for network in one.networks)]

    @property
    def feature_networks(self) -> list[tuple[nn.Module, int]]:
        """Return each feature network with the number of crops that it sees."""
        return feature_networks(self.losses)

    def finished(self, result: Result, size: str) -> Tensor:
        """Return the images [B, 3, H, W] of a result at one of `SIZES`."""
        if size == "source":
            return restore(self.fit, result.pictures, self.original, self.original_mask)
        return self.fit.undo(result.pictures)

    def memory_required(self, options: Execution) -> int:
        """Return the estimated bytes on the device, without the weights that stay there."""
        from ..diffuseit.performance.memory import offload_bytes, run_bytes

        waiting = offload_bytes([network for network, _ in self.feature_networks], options)
        return waiting + run_bytes(
            self.ddpm.module,
            self.feature_networks,
            at_once(self),
            self.fit.canvas,
            options,
            backward=self.settings.ever_backward,
        )

    def total_memory(self, options: Execution) -> int:
        """Return the estimated bytes on the device, weights included."""
        resident = self.networks if options.offload is None else self.networks[:1]
        return devices.weights_bytes(resident) + self.memory_required(options)


def feature_networks(losses: Iterable[BoundLoss]) -> list[tuple[nn.Module, int]]:
    """Return each feature network with the number of crops that it sees."""
    found = []
    for bound in losses:
        if "vit" in bound.loss.needs:
            found.append((bound.inputs["vit"], 0))
        if "clip" in bound.loss.needs:
            found += [(clip, bound.loss.crops) for clip in bound.inputs["clip"]]
    return found


def prepare(
    ddpm: Network[Any],
    source: Tensor,
    chain: Losses,
    settings: SamplerSettings,
    seed: int,
    fit: FitMode,
    mask: Tensor | None = None,
    colors: Tensor | None = None,
    film: Film | None = None,
) -> Run:
    """Check everything, and fit images and masks to the model. Raise `InputError` before anything is loaded.

    `source` and `colors` are [B, 3, H, W] in [-1, 1]. `mask` is a MASK of ComfyUI.
    """
    check_chain(chain)
    fitting = Fit.of((source.shape[-2], source.shape[-1]), ddpm.module, fit)
    x_src = fitting.apply(source)
    check_source(x_src, ddpm.module)
    # The schedule refuses more steps than the network was trained on.
    ddpm.module.schedule(settings.steps)
    original_mask = None if mask is None else _mask(mask, source, "mask")
    if film is not None:
        # Images that are made together do not start again.
        settings = replace(settings, restart_above=None)
    run = Run(
        ddpm,
        tuple(fitted(one, fitting, source) for one in chain),
        chain,
        settings,
        seed,
        fitting,
        x_src,
        source,
        None if original_mask is None else fitting.apply(original_mask),
        original_mask,
        colors,
        film,
    )
    if film is not None:
        check_film(run)
    return run


def check_chain(chain: Losses) -> None:
    """Raise `InputError` if there are no losses."""
    if not chain:
        raise InputError("there are no losses: connect a loss node, or a preset, to 'losses'")


def fitted(one: NodeLoss, fit: Fit, source: Tensor) -> BoundLoss:
    """Return the loss with its images and mask at the size that the model works at."""
    inputs = dict(one.bound.inputs)
    for name, value in inputs.items():
        if isinstance(value, Tensor):
            if len(value) not in (1, len(source)):
                raise InputError(
                    f"{len(value)} style images for {len(source)} sources: give one, or one for each"
                )
            inputs[name] = cover(value, fit.canvas)
    mask = None if one.bound.mask is None else _mask(one.bound.mask, source, "a loss's mask")
    return replace(one.bound, inputs=inputs, mask=None if mask is None else fit.apply(mask))


def _mask(mask: Tensor, source: Tensor, name: str) -> Tensor | None:
    """Return a MASK of ComfyUI as `mask_to_core` does. If it counts as none, the node says so."""
    found = mask_to_core(mask, source, name)
    if found is None:
        events.show_text(f"{name}: empty, as Load Image gives it without transparency, so it counts as none")
    return found


def execute(run: Run, workflow: str = "") -> tuple[Result, live.Live, Execution]:
    """Load the networks and sample, with less memory if the device runs out of it.

    `workflow` is the id of the workflow that shows the run. The result is at the model's size. Raise `RuntimeError` if
    even the plan with the least memory was not enough.
    """
    plans = memory.plans(run.total_memory)
    for number, options in enumerate(plans, start=1):
        try:
            return *_attempt(run, options, workflow), options
        except Exception as error:
            if not memory.out_of_memory(error):
                raise
            if number == len(plans):
                raise RuntimeError(memory.OUT_OF_MEMORY) from error
        logging.warning("DiffuseIT: out of memory; trying again, slower and with less")
        memory.free()
    raise AssertionError("there is always a plan")


def _attempt(run: Run, options: Execution, workflow: str) -> tuple[Result, live.Live]:
    required = run.memory_required(options)
    if options.offload is None:
        devices.load(run.networks, required)
    else:
        devices.load_offloaded(run.networks[0], run.networks[1:], required)
    visits = len(run.settings.timetable)
    progress = events.Progress(len(run.source) * visits)
    reporter = live.Live(_facts(run, options, workflow), events.tell, live.throttle())

    def on_step(step: Step) -> None:
        progress.update(step.number + 1, step.total, step.pred_xstart[0])
        reporter.step(step, lambda count: run.fit.undo(step.pred_xstart[:count].cpu()))

    look_ahead(run.source[: at_once(run)], run.losses)
    with reporter, events.interruptible(run.ddpm.module.children()):
        if run.film is not None:
            return translate_film(run, options, on_step), reporter
        result = translate_with(
            run.ddpm.module,
            run.source,
            run.losses,
            run.settings,
            run.seed,
            mask=run.mask,
            colors=run.colors,
            options=options,
            on_step=on_step,
            measure_every=math.ceil(visits / live.MEASUREMENTS),
            keep_trajectory=True,
        )
    return result, reporter


def named_features(networks: Iterable[tuple[nn.Module, int]]) -> list[tuple[str, nn.Module]]:
    """Return feature networks with the names that users see."""
    # This import brings timm, which must not be loaded with the pack.
    from ..diffuseit.models.vit import ViT

    return [("ViT" if isinstance(network, ViT) else "CLIP", network) for network, _ in networks]


def _facts(run: Run, options: Execution, workflow: str) -> live.Facts:
    networks = named_features(run.feature_networks)
    prompt, node = events.executing()
    batch = len(run.source)
    return live.Facts(
        workflow=workflow,
        prompt=prompt,
        node=node,
        run=uuid.uuid4().hex[:8],
        total=len(run.settings.timetable) * (windows(run) if run.settings.restart_above is None else batch),
        batch=batch,
        chain=[(one.node, one.bound.loss) for one in run.chain],
        memory=run.total_memory(options),
        networks=live.named([*run.ddpm.module.networks().items(), *networks]),
        size=(run.source.shape[-1], run.source.shape[-2]),
        source=run.fit.undo(run.source[: live.SHOWN_PICTURES]),
    )
