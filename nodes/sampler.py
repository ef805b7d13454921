"""The sampler node: one picture, or a batch of them, from source to result."""

import logging
import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

import torch
from comfy_api.latest import io
from torch import Tensor

from ..diffuseit.errors import InputError
from ..diffuseit.guidance.balance import BalanceMode
from ..diffuseit.guidance.loop import SamplerSettings, check_source, sample
from ..diffuseit.guidance.mask import blend
from ..diffuseit.images.resize import Fit, FitMode, cover
from ..diffuseit.losses import Loss, MaskedLoss, ScheduledLoss
from ..diffuseit.losses.base import View
from ..diffuseit.methods import METHODS, SOLVERS, StepRule
from ..diffuseit.performance.offload import stay
from ..diffuseit.performance.options import Execution
from ..diffuseit.presets import PRESETS, TEXT_DEFAULT
from . import live, runtime
from .estimate import Prompt, key_of
from .images import mask_to_core, to_comfy, to_core
from .losses import why_not
from .settings import METHOD_ITSELF, sampler_settings
from .types import CATEGORY, DDPM, LOSSES, SETTINGS, Guidance, Losses, Network, Settings

SIZES = ("model", "source")


def fraction_input(id: str, default: float, tooltip: str) -> io.Float.Input:
    """The widget of a place in the run: 0 is its start, 1 its end."""
    return io.Float.Input(
        id, optional=True, default=default, min=0.0, max=1.0, step=0.05, advanced=True, tooltip=tooltip
    )


class Sampler(io.ComfyNode):
    """`diffuseit.sample` with ComfyUI's pictures, devices and progress."""

    @classmethod
    def define_schema(cls):
        default = PRESETS[TEXT_DEFAULT].sampler
        return io.Schema(
            node_id="DiffuseITSampler",
            display_name="DiffuseIT Sampler",
            category=CATEGORY,
            description="Walks a picture part of the way to noise and back while the losses pull on it.",
            search_aliases=[
                "image translation",
                "style transfer",
                "clip guided",
                "loss guided",
                "DiffuseIT",
                "img2img",
            ],
            inputs=[
                DDPM.Input("ddpm", tooltip="From DiffuseIT Load DDPM."),
                io.Image.Input(
                    "image",
                    tooltip="The source: any size, one or a batch. Picture i of a batch uses seed + i.",
                ),
                LOSSES.Input("losses", tooltip="The end of a chain of loss nodes, or a preset's."),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Another seed, another noise: the same style with other details.",
                ),
                io.Int.Input(
                    "steps",
                    default=default.steps,
                    min=1,
                    max=1000,
                    tooltip="Steps from pure noise to a picture; 'skip' leaves the first ones out. Up: finer and "
                    "slower.",
                ),
                io.Int.Input(
                    "skip",
                    default=default.skip,
                    min=0,
                    max=999,
                    tooltip="How many of the noisiest steps are left out. Up: less noise is added, more of the source "
                    "stays, and it is faster. Must be below 'steps'.",
                ),
                io.Int.Input(
                    "resample",
                    default=default.resample,
                    min=1,
                    max=100,
                    tooltip="How often the first, noisiest step is repeated. Up: the style takes hold of large forms; "
                    "slower.",
                ),
                io.Combo.Input(
                    "method",
                    options=list(METHODS),
                    default=default.method,
                    tooltip="How the losses move the picture. diffuseit: the paper's, with noise in every step; "
                    "diffuseit-ddim: without, smoother and without resampling; agg: starts from the source's own "
                    "noise; agg-official: the same, as its published code runs it; mpgd: never goes back through the "
                    "diffusion model, quicker and rougher; dsg: steps of full length, good with few steps.",
                ),
                io.Float.Input(
                    "step_size",
                    default=default.step_size,
                    min=0.0,
                    max=100.0,
                    step=0.05,
                    round=0.001,
                    tooltip="How far each step follows the losses, all together. Up: a stronger change; too much tears "
                    "the picture. 0: no guidance.",
                ),
                io.Combo.Input(
                    "step_rule",
                    options=list(get_args(StepRule)),
                    default=default.step_rule,
                    advanced=True,
                    tooltip="What step_size multiplies. normalized: the gradient's direction, so that weights only "
                    "matter against each other. variance: the gradient itself, as in the paper; step_size 1 then. "
                    "freedom: the direction too, in steps as long at the end as at the start.",
                ),
                io.Combo.Input(
                    "view",
                    options=list(get_args(View)),
                    default=default.view,
                    advanced=True,
                    tooltip="What structure and image style look at. noised: the prediction mixed with the noisy "
                    "picture, as in the paper; pred_xstart: the clean prediction.",
                ),
                io.Float.Input(
                    "restart_above",
                    default=default.restart_above or 0.0,
                    min=0.0,
                    max=1000.0,
                    step=0.01,
                    advanced=True,
                    tooltip="Begin again with new noise when the weighted range loss exceeds this; 0 never. The paper "
                    "has 0.01 with its own weights.",
                ),
                io.Int.Input(
                    "max_restarts",
                    default=default.max_restarts,
                    min=0,
                    max=100,
                    advanced=True,
                    tooltip="How often a picture may begin again.",
                ),
                io.Combo.Input(
                    "fit",
                    options=list(get_args(FitMode)),
                    default="keep",
                    advanced=True,
                    tooltip="How a picture of another shape meets the model. keep: its shape stays; crop: the square "
                    "in the middle; stretch: squashed to a square, as the paper's code does.",
                ),
                io.Combo.Input(
                    "size",
                    options=list(SIZES),
                    default="model",
                    advanced=True,
                    tooltip="Size of the result. model: as the model paints it; source: brought back to the source's "
                    "size, where what the mask protects keeps its full detail.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where the picture may change; elsewhere the source survives. Of the picture's size.",
                ),
                SETTINGS.Input(
                    "settings",
                    optional=True,
                    tooltip="A preset's settings: they replace the widgets of this node, but for seed, fit and size.",
                ),
                fraction_input(
                    "guide_from",
                    default.guide_from,
                    "Where in the run the losses begin to act, as a fraction. Up: the first steps go their own "
                    "way.",
                ),
                fraction_input(
                    "guide_until",
                    default.guide_until,
                    "Where in the run the losses cease to act, as a fraction. Down: the last steps only clean "
                    "up: smoother, faster, a little further from style and structure.",
                ),
                io.Int.Input(
                    "inner_steps",
                    optional=True,
                    default=-1,
                    min=-1,
                    max=100,
                    advanced=True,
                    tooltip="Further steps on the prediction within each step (agg, mpgd); -1: what the method likes. "
                    "Up: closer to the losses, slower.",
                ),
                io.Combo.Input(
                    "solver",
                    optional=True,
                    options=[METHOD_ITSELF, *SOLVERS],
                    default=METHOD_ITSELF,
                    advanced=True,
                    tooltip="What takes the steps after guide_until. Solvers need fewer of them for the same quality.",
                ),
                io.Int.Input(
                    "tail_steps",
                    optional=True,
                    default=0,
                    min=0,
                    max=1000,
                    advanced=True,
                    tooltip="How many steps the solver takes; 0: all that are left. Down: faster.",
                ),
                io.Combo.Input(
                    "balance",
                    optional=True,
                    options=list(get_args(BalanceMode)),
                    default=default.balance,
                    advanced=True,
                    tooltip="What the weights of the losses mean. fixed: they multiply, as in the paper. adaptive: "
                    "how much each loss counts, 0 to 1, whatever the size of its gradient; slower.",
                ),
                fraction_input(
                    "backward_until",
                    default.backward_until,
                    "Up to where in the run the gradient goes back through the diffusion model, as a fraction. "
                    "Down: faster; at 0 much less memory as well, a little further from style and structure.",
                ),
                io.Float.Input(
                    "start_colour",
                    optional=True,
                    default=default.start_colour,  # web/js/sampler/saved.js: 1 in graphs that were saved without it
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    advanced=True,
                    tooltip="How much of the source's mean colour the noisy picture begins with. 0: the losses decide "
                    "how dark or warm the picture becomes; 1: it stays near the source's, as in the paper.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The translated picture."),
                io.Image.Output(
                    display_name="trajectory",
                    tooltip="What the model predicted in each step, as a batch: the way there. One picture after the "
                    "other.",
                ),
                io.Custom("LOSS_MAP").Output(
                    display_name="loss_map", tooltip="The losses of each step, for the Plot Loss Graph node."
                ),
            ],
            hidden=[io.Hidden.extra_pnginfo, io.Hidden.prompt],
        )

    @classmethod
    def validate_inputs(cls, steps=None, skip=None, settings=False):
        # None: linked, so not known before the run. Linked settings replace the widgets.
        if steps is None or skip is None or settings is None:
            return True
        return why_not(lambda: SamplerSettings(steps=steps, skip=skip))

    @classmethod
    def execute(
        cls, ddpm, image, losses, seed, fit, size, mask=None, settings=None, **widgets
    ) -> io.NodeOutput:
        if settings is None:
            settings = Settings(sampler_settings(**widgets))
        with runtime.gradients():
            run = Run(
                ddpm, to_core(image), losses, settings, seed, fit, mask, _workflow(cls.hidden.extra_pnginfo)
            )
            result, trajectory, history = runtime.with_less_memory(run.sample, run.needs)
            pictures = run.finish(result, at_source_size=size == "source")
            run.live.result(pictures[0])
            _note(run, cls.hidden.prompt)
        return io.NodeOutput(
            runtime.to_output(to_comfy(pictures)), runtime.to_output(to_comfy(trajectory)), history
        )


class Run:
    """One execution: checks everything first, then loads, samples, and hands the pictures back."""

    def __init__(
        self,
        ddpm: Network,
        source: Tensor,
        losses: Losses,
        settings: Settings,
        seed: int,
        fit: FitMode,
        mask: Tensor | None,
        workflow: str = "",
    ):
        if not losses:
            raise InputError("there are no losses: connect a loss node, or a preset, to 'losses'")
        self.ddpm, self.guidance, self.settings, self.seed = ddpm, losses, settings, seed
        self.workflow = workflow
        self.original = source
        self.fit = Fit.of((source.shape[-2], source.shape[-1]), ddpm.module, fit)
        self.source = self.fit.apply(source)
        check_source(self.source, ddpm.module)
        ddpm.module.schedule(settings.sampler.steps)  # there may be fewer steps to take
        self.original_mask = None if mask is None else mask_to_core(mask, source)
        self.mask = None if self.original_mask is None else self.fit.apply(self.original_mask)
        self.losses = [self._fitted(guidance) for guidance in losses]
        self.networks = [ddpm, *(network for guidance in losses for network in guidance.networks)]

    def _fitted(self, guidance: Guidance) -> Loss:
        """The loss with its pictures and mask at the size that the model sees."""
        for name, picture in guidance.pictures.items():
            if len(picture) not in (1, len(self.source)):
                raise InputError(
                    f"{len(picture)} style pictures for {len(self.source)} sources: give one, or one for each"
                )
            guidance = replace(
                guidance, loss=replace(guidance.loss, **{name: cover(picture, self.fit.canvas)})
            )
        loss = guidance.loss
        for points in guidance.schedules:
            loss = ScheduledLoss(loss, points)
        if guidance.mask is None:
            return loss
        return MaskedLoss(loss, self.fit.apply(mask_to_core(guidance.mask, self.original, "a loss's mask")))

    def sample(self, execution: Execution) -> tuple[Tensor, Tensor, dict[str, list[float]]]:
        """(result, trajectory, losses by name over the steps); pictures on the CPU at the canvas' size."""
        memory, self.execution = self._memory_required(execution), execution
        if execution.turn is stay:
            runtime.load(self.networks, memory)
        else:
            runtime.load_in_turns(self.networks[0], self.networks[1:], memory)
        frames: list[list[Tensor]] = [[] for _ in self.source]
        history: dict[str, list[float]] = {"loss": []}
        progress = runtime.Progress(len(self.source) * self.settings.sampler.visits)
        throttle = runtime.setting(live.THROTTLE_SETTING, live.THROTTLE_MS) / 1000
        self.live = live.Live(self._facts(self.needs(execution)), runtime.tell, throttle)
        steps = sample(
            self.ddpm.module,
            self.source,
            self.losses,
            self.settings.sampler,
            self.seed,
            mask=self.mask,
            execution=execution,
            pulls_every=math.ceil(self.settings.sampler.visits / live.MEASUREMENTS),
        )
        with self.live, runtime.interruptible(self.ddpm.module):
            for step in steps:
                progress.update(step.number + 1, step.total, step.pred_xstart[0])
                pictures = step.pred_xstart.cpu()
                for item, picture in zip(step.items, pictures, strict=True):
                    frames[item].append(picture)
                values = _append(history, step.terms)
                self.live.step(step, values, self.fit.undo(pictures[:1])[0])
        result = torch.stack([pictures[-1] for pictures in frames]).clamp(-1, 1)
        trajectory = torch.stack([picture for pictures in frames for picture in pictures])
        return result, self.fit.undo(trajectory), history

    def needs(self, execution: Execution) -> int:
        """Foretold bytes of the device, weights included."""
        resident = self.networks if execution.turn is stay else self.networks[:1]
        return runtime.weights_bytes(resident) + self._memory_required(execution)

    def _memory_required(self, execution: Execution) -> int:
        """Foretold bytes beside the weights that stay on the device."""
        from ..diffuseit.performance.memory import run_bytes, turn_bytes

        views = _views(self.guidance)
        guests = turn_bytes([network for network, _ in views], execution)
        return guests + run_bytes(
            self.ddpm.module,
            views,
            len(self.source),
            self.fit.canvas,
            execution,
            back=self.settings.sampler.ever_goes_back,
        )

    def _facts(self, memory: int) -> live.Facts:
        from ..diffuseit.models.vit import ViT  # brings timm, which must not come with the pack

        views = [("ViT" if isinstance(view, ViT) else "CLIP", view) for view, _ in _views(self.guidance)]
        sampler = self.settings.sampler
        prompt, node = runtime.executing()
        return live.Facts(
            workflow=self.workflow,
            prompt=prompt,
            node=node,
            run=uuid.uuid4().hex[:8],
            total=sampler.visits * (1 if sampler.restart_above is None else len(self.source)),
            batch=len(self.source),
            chain=[(one.node, type(one.loss).__name__) for one in self.guidance],
            memory=memory,
            networks=live.named([("DDPM", self.ddpm.module.unet), *views]),
            size=(self.source.shape[-1], self.source.shape[-2]),
            source=self.fit.undo(self.source[:1])[0],
        )

    def finish(self, result: Tensor, at_source_size: bool) -> Tensor:
        """Colours, and back from the canvas."""
        if self.settings.colours is not None:
            from ..diffuseit.images.color import match_colors_batch

            result = blend(
                match_colors_batch(result, self.settings.colours.cpu()), self.source.cpu(), self.mask
            )
        if at_source_size:
            return self.fit.restore(result, self.original, self.original_mask)
        return self.fit.undo(result)


def _workflow(metadata: Mapping[str, Any] | None) -> str:
    """The id of the workflow that a prompt came from; empty where none did."""
    workflow = (metadata or {}).get("workflow") or {}
    return str(workflow.get("id") or "")


def _note(run: Run, prompt: Prompt | None) -> None:
    """Writes down what the run took, for estimates; without a prompt nobody knows what it was."""
    _, node = runtime.executing()
    if prompt and node in prompt:
        try:
            runtime.measured().note(key_of(prompt, node, runtime.device_name()), run.live.figures())
        except OSError as error:
            logging.warning("DiffuseIT: what the run took could not be written down: %s", error)


def _views(guidance: Sequence[Guidance]) -> list[tuple[torch.nn.Module, int]]:
    """Each network with the number of crops that it sees."""
    return [
        (network, getattr(one.loss, "crops", 0))
        for one in guidance
        for handle in one.networks
        for network in getattr(handle.module, "models", [handle.module])
    ]


def _append(history: dict[str, list[float]], terms: dict[str, Tensor]) -> dict[str, float]:
    """One step more: the sum under "loss", which core's graph node draws, and every term that was active.

    Gives the terms of the step; none for one without guidance.
    """
    if not terms:
        return {}
    values = {name: value.mean().item() for name, value in terms.items()}
    history["loss"].append(sum(values.values()))
    for name, value in values.items():
        history.setdefault(name, []).append(value)
    return values


NODES = [Sampler]
