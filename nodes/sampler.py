"""The sampler node, which translates an image or a batch."""

from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..diffuseit.api import Result
from ..diffuseit.guidance.settings import SamplerSettings
from ..diffuseit.methods import METHODS
from . import estimate, live
from .comfy.devices import gradients, to_output
from .images import to_comfy, to_core
from .inputs import checked, why_not
from .options import DEFAULTS, make_settings
from .run import SIZES, Run, execute, prepare
from .types import CATEGORY, DDPM, LOSSES, OPTIONS, Losses, Network, Options
from .verdicts import verdicts_on

NO_OPTIONS = Options()


class Sampler(io.ComfyNode):
    """`diffuseit.translate_with` on ComfyUI's images and devices."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffuseITSampler",
            display_name="DiffuseIT Sampler",
            category=CATEGORY,
            description="Translates an image: adds noise to it, then removes the noise step by step while the "
            "losses guide.",
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
                    tooltip="The source: one image or a batch, of any size. Image i of a batch uses seed + i.",
                ),
                LOSSES.Input(
                    "losses", tooltip="The end of a chain of loss nodes, or the losses of a preset."
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="The seed of the noise. Another seed gives the same style with other details.",
                ),
                io.Int.Input(
                    "steps",
                    default=DEFAULTS["steps"],
                    min=1,
                    max=1000,
                    tooltip="How many steps lead from pure noise to a clean image; 'skip' leaves out the first "
                    "ones. Up: finer and slower.",
                ),
                io.Int.Input(
                    "skip",
                    default=DEFAULTS["skip"],
                    min=0,
                    max=999,
                    tooltip="How many of the noisiest steps are left out. Up: less noise is added, more of the "
                    "source stays, and the run is faster. Must be below 'steps'.",
                ),
                io.Int.Input(
                    "resample",
                    default=DEFAULTS["resample"],
                    min=1,
                    max=100,
                    tooltip="How often the first, noisiest step is taken. Up: the style reaches large forms; "
                    "slower.",
                ),
                io.Combo.Input(
                    "method",
                    options=list(METHODS),
                    default=DEFAULTS["method"],
                    tooltip="How the losses move the image. diffuseit: the paper's method, with noise in every "
                    "step. diffuseit-ddim: without that noise; smoother, and without resampling. agg: starts "
                    "from the source's own noise (DDIM inversion). agg-official: the same, as its published "
                    "code runs it. mpgd: no gradient through the diffusion model; faster and rougher. dsg: "
                    "steps of full length; good with few steps.",
                ),
                io.Float.Input(
                    "step_size",
                    default=DEFAULTS["step_size"],
                    min=0.0,
                    max=100.0,
                    step=0.05,
                    round=0.001,
                    tooltip="How far each step follows the losses, all together. Up: a stronger change; too high, "
                    "and the image is torn. 0: no guidance.",
                ),
                io.Combo.Input(
                    "size",
                    options=list(SIZES),
                    default="model",
                    tooltip="The size of the result. model: as the model makes it. source: the size of the "
                    "source, with its detail; what the mask protects stays as it is.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where the image may change (white). Elsewhere the source stays as it is. A mask of "
                    "another size is scaled if it has the shape of the image.",
                ),
                OPTIONS.Input(
                    "options",
                    optional=True,
                    tooltip="From option nodes or a preset. What they set replaces the widgets of this node.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The translated image."),
                io.Image.Output(
                    display_name="trajectory",
                    tooltip="The prediction of the model in each step, as a batch, one image after the other.",
                ),
                io.Custom("LOSS_MAP").Output(
                    display_name="loss_map", tooltip="The losses of each step, for the Plot Loss Graph node."
                ),
            ],
            hidden=[io.Hidden.extra_pnginfo, io.Hidden.prompt],
        )

    @classmethod
    def validate_inputs(
        cls, steps: int | None = None, skip: int | None = None, options: Options | None = NO_OPTIONS
    ) -> bool | str:
        # Linked options may replace the widgets.
        values = {"steps": steps, "skip": skip, "options": options}
        return why_not(cls, values, lambda: SamplerSettings(steps=steps, skip=skip))

    @classmethod
    @checked
    def execute(
        cls,
        ddpm: Network,
        image: Tensor,
        losses: Losses,
        seed: int,
        size: str,
        mask: Tensor | None = None,
        options: Options | None = None,
        **widgets: Any,
    ) -> io.NodeOutput:
        options = options or Options()
        values = {**DEFAULTS, **widgets, **options.values}
        with gradients():
            run = prepare(
                ddpm,
                to_core(image),
                losses,
                make_settings(values),
                seed,
                values["fit"],
                mask,
                options.colors,
                options.film,
            )
            pictures, result = translated(run, size, cls.hidden)
            trajectory = run.fit.undo(torch.cat(result.trajectory))
        return io.NodeOutput(to_output(to_comfy(pictures)), to_output(to_comfy(trajectory)), result.losses)


def translated(run: Run, size: str, hidden: Any) -> tuple[Tensor, Result]:
    """Return the finished images [B, 3, H, W] at one of `SIZES`, and the result at the size of the model.

    `hidden` are the node's hidden inputs, `prompt` and `extra_pnginfo`. The node shows the run.
    """
    result, reporter, _ = execute(run, live.workflow_id(hidden.extra_pnginfo))
    pictures = run.finished(result, size)
    reporter.result(pictures, verdicts=verdicts_on(result.pictures, run.source, run.losses))
    estimate.note(hidden.prompt, reporter.figures())
    return pictures, result


NODES = [Sampler]
