"""The sampler of ComfyUI that runs the core's own loop and methods on any MODEL."""

from functools import partial
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..diffuseit.errors import InputError
from ..diffuseit.methods import METHODS
from ..diffuseit.models.latent import VIEW_SIZE
from .comfy.devices import gradients
from .comfy.sampling import sampler
from .images import to_core
from .inputs import checked
from .latent_loop import sample_latents
from .latent_run import Wanted
from .model_options import make_latent_settings
from .options import DEFAULTS
from .run import check_chain
from .types import CATEGORY, LOSSES, OPTIONS, Losses, Options


class LatentSampler(io.ComfyNode):
    """`guidance.loop` on ComfyUI's models and devices."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffuseITLatentSampler",
            display_name="DiffuseIT Latent Sampler",
            category=CATEGORY,
            description="A sampler for SamplerCustomAdvanced that takes DiffuseIT's own steps, guided by the losses, "
            "with any model: SDXL, Flux, and others. Steps and start come from the sigmas.",
            search_aliases=[
                "loss guidance",
                "KSampler",
                "SDXL",
                "Flux",
                "resample",
                "DSG",
                "AGG",
                "MPGD",
                "img2img",
            ],
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip="The source that the losses hold on to: one image, or one for each latent of a batch. "
                    "Also encode it, and connect it to the sampler's latent.",
                ),
                LOSSES.Input(
                    "losses", tooltip="The end of a chain of loss nodes, or the losses of a preset."
                ),
                io.Combo.Input(
                    "method",
                    options=list(METHODS),
                    default="mpgd",
                    tooltip="How the losses move the image. mpgd: they move the prediction of each step. diffuseit: "
                    "the paper's method, with noise in every step. diffuseit-ddim: without that noise, and without "
                    "resampling. dsg: steps of full length; good with few steps. agg, agg-official: start from the "
                    "source's own noise (DDIM inversion), not from the noise that is connected.",
                ),
                io.Int.Input(
                    "resample",
                    default=1,
                    min=1,
                    max=100,
                    tooltip="How often the first, noisiest step is taken. Up: the style reaches large forms; "
                    "slower.",
                ),
                io.Float.Input(
                    "step_size",
                    default=1.0,
                    min=0.0,
                    max=100.0,
                    step=0.05,
                    round=0.001,
                    tooltip="How far each step follows the losses, all together. Up: a stronger change; too high, "
                    "and the image is torn. 0: no guidance.",
                ),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="The VAE of the model, which shows its latents to the losses. A tiny one (taesd, taesdxl, "
                    "taesd3, taef1 in Load VAE) takes a tenth of the memory. Models that work on pixels need none.",
                ),
                OPTIONS.Input(
                    "options",
                    optional=True,
                    tooltip="From option nodes or a preset. What they set replaces the widgets of this node. Steps, "
                    "skip, and the start options do not count: ComfyUI gives the sigmas and the noise. The gradient "
                    "passes back through the model only if DiffuseIT Model Guidance Options says so.",
                ),
            ],
            outputs=[io.Sampler.Output(display_name="sampler", tooltip="To SamplerCustomAdvanced.")],
            hidden=[io.Hidden.unique_id],
            not_idempotent=True,
        )

    @classmethod
    @checked
    def execute(
        cls,
        image: Tensor,
        losses: Losses,
        vae: Any | None = None,
        options: Options | None = None,
        **widgets: Any,
    ) -> io.NodeOutput:
        check_chain(losses)
        options = options or Options()
        if options.colors is not None:
            raise InputError(
                "options takes the colors of an image: use DiffuseIT Match Colors after the decoder"
            )
        values = {**DEFAULTS, **widgets, **options.values}
        make_latent_settings(values, steps=1)
        with gradients():
            wanted = Wanted(
                to_core(image),
                losses,
                vae,
                values.get("view_size", VIEW_SIZE),
                str(cls.hidden.unique_id),
                options.film,
            )
        return io.NodeOutput(sampler(partial(sample_latents, wanted, partial(make_latent_settings, values))))


NODES = [LatentSampler]
