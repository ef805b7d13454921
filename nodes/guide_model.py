"""The node that lets losses guide any MODEL of ComfyUI, in ComfyUI's own sampling."""

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from .comfy.devices import gradients
from .comfy.sampling import with_guidance
from .images import to_core
from .inputs import checked
from .latent_run import Wanted, prepare
from .model_options import make_prediction, model_guidance
from .prediction_session import PredictionSession
from .run import check_chain
from .types import CATEGORY, LOSSES, OPTIONS, Losses, Options


class GuideModel(io.ComfyNode):
    """`guidance.prediction` on ComfyUI's models, samplers, and devices."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffuseITGuideModel",
            display_name="DiffuseIT Guide Model",
            category=CATEGORY,
            description="Lets the losses guide any model in ComfyUI's own sampling: SDXL, Flux, and others, with any "
            "sampler, prompt, LoRA, or ControlNet. Put it between the model and the sampler.",
            search_aliases=["loss guidance", "guide any model", "SDXL", "Flux", "keep structure", "img2img"],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="The diffusion model, with its LoRAs. One that is guided already is guided by both sets "
                    "of losses, one after the other.",
                ),
                io.Image.Input(
                    "image",
                    tooltip="The source that the losses hold on to: one image, or one for each latent of a batch. "
                    "For a translation, also encode it, connect it to the sampler's latent, and choose a denoise "
                    "of about 0.6 to 0.85. With a denoise of 1 the model starts from pure noise, and only the "
                    "losses know the source.",
                ),
                LOSSES.Input(
                    "losses", tooltip="The end of a chain of loss nodes, or the losses of a preset."
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
                io.Float.Input(
                    "start",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    round=0.001,
                    tooltip="When in the run the losses start, from 0 (start) to 1 (end). Up: more of the first "
                    "steps are unguided.",
                ),
                io.Float.Input(
                    "end",
                    default=0.85,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    round=0.001,
                    tooltip="When in the run the losses stop, from 0 (start) to 1 (end). Up: closer to style and "
                    "structure. Down: the last steps only clean up, which is smoother and faster.",
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
                    tooltip="From DiffuseIT Model Guidance Options, and from DiffuseIT Correspondences for a batch "
                    "that holds together.",
                ),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="To the sampler or the guider.")],
            hidden=[io.Hidden.unique_id],
            not_idempotent=True,
        )

    @classmethod
    @checked
    def execute(
        cls,
        model: Any,
        image: Tensor,
        losses: Losses,
        step_size: float,
        start: float,
        end: float,
        vae: Any | None = None,
        options: Options | None = None,
    ) -> io.NodeOutput:
        check_chain(losses)
        values = model_guidance(options)
        settings = make_prediction(values, step_size=step_size, guide_from=start, guide_until=end)
        with gradients():
            wanted = Wanted(
                to_core(image),
                losses,
                vae,
                values["view_size"],
                str(cls.hidden.unique_id),
                None if options is None else options.film,
            )
        through = values["gradient"] == "model"
        return io.NodeOutput(
            with_guidance(
                model,
                lambda sampling: PredictionSession(prepare(wanted, sampling), settings, through),
            )
        )


NODES = [GuideModel]
