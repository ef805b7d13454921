"""The option node of guidance inside ComfyUI's own models, and how the nodes that take it read their options."""

from collections.abc import Mapping
from typing import Any, get_args

from comfy_api.latest import io

from ..diffuseit.errors import InputError
from ..diffuseit.guidance.balance import BalanceMode
from ..diffuseit.guidance.prediction import PredictionSettings
from ..diffuseit.guidance.settings import SamplerSettings
from ..diffuseit.methods import MPGD, StepRule
from ..diffuseit.models.latent import VIEW_SIZE
from .inputs import checked
from .options import MENU, followed_by, make_settings, options_output, previous_input
from .types import Options

NOISE = ("follows", "stays")
GRADIENT = ("prediction", "model")

MODEL_DEFAULTS: Mapping[str, Any] = {
    "inner_steps": 0,
    "every": 1,
    "step_rule": "normalized",
    "noise": "follows",
    "anchor": 0.0,
    "view_size": VIEW_SIZE,
    "gradient": "prediction",
    "balance": "fixed",
}
"""What DiffuseIT Model Guidance Options sets, as it is without that node."""


def model_guidance(options: Options | None) -> dict[str, Any]:
    """Return the settings of DiffuseIT Guide Model. Raise `InputError` for options of DiffuseIT's own samplers."""
    values = {} if options is None else options.values
    if foreign := sorted(values.keys() - MODEL_DEFAULTS.keys()):
        names = ", ".join(foreign[:3]) + (", and others" if foreign[3:] else "")
        raise InputError(
            f"options sets {names}, which ComfyUI's own sampling does not have: connect DiffuseIT Model Guidance "
            "Options alone"
        )
    return {**MODEL_DEFAULTS, **values}


def make_prediction(values: Mapping[str, Any], *, step_size: float, **window: float) -> PredictionSettings:
    """Return settings of guidance inside a foreign sampler. `window`: when the losses act."""
    method = MPGD(
        step_size=step_size,
        step_rule=values["step_rule"],
        inner_steps=values["inner_steps"],
        symmetric=values["noise"] == "follows",
    )
    return PredictionSettings(
        method=method, every=values["every"], anchor=values["anchor"], balance=values["balance"], **window
    )


def make_latent_settings(values: Mapping[str, Any], steps: int) -> SamplerSettings:
    """Return the settings of DiffuseIT's loop over `steps` sigmas.

    `steps`, `skip`, and the values of the start options do not count: ComfyUI gives the sigmas and the noisy latents.
    Raise `InputError` for settings that cannot work.
    """
    if values.get("every", 1) != 1 or values.get("anchor", 0) > 0:
        raise InputError("'every' and 'anchor' work with DiffuseIT Guide Model: leave them at 1 and 0 here")
    own: dict[str, Any] = {"steps": steps, "skip": 0, "restart_above": None, "start_color": 1.0}
    if values.get("gradient", "prediction") == "prediction":
        own["backward_until"] = 0.0
    if "noise" in values:
        own["symmetric"] = values["noise"] == "follows"
    return make_settings({**values, **own})


class ModelGuidanceOptions(io.ComfyNode):
    """Sets how losses guide a model of ComfyUI."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffuseITModelGuidanceOptions",
            display_name="DiffuseIT Model Guidance Options",
            category=MENU,
            description="Sets how losses guide a model of ComfyUI: how often, how strongly, and what they see.",
            search_aliases=[
                "step rule",
                "inner steps",
                "latent guidance",
                "asymmetric",
                "tether",
                "guide model",
            ],
            inputs=[
                io.Int.Input(
                    "inner_steps",
                    default=MODEL_DEFAULTS["inner_steps"],
                    min=0,
                    max=100,
                    tooltip="Further steps on the prediction within each step. Up: closer to the losses, slower. Good "
                    "for models with few steps.",
                ),
                io.Int.Input(
                    "every",
                    default=MODEL_DEFAULTS["every"],
                    min=1,
                    max=1000,
                    tooltip="In which steps the losses act: 1 is every step, 2 every other one. Up: faster.",
                ),
                io.Combo.Input(
                    "step_rule",
                    options=list(get_args(StepRule)),
                    default=MODEL_DEFAULTS["step_rule"],
                    tooltip="What 'step_size' multiplies. normalized: the direction of the gradient, so that weights "
                    "matter only relative to each other. variance: the gradient itself. freedom: the direction, "
                    "with steps as long at the end as at the start.",
                ),
                io.Combo.Input(
                    "noise",
                    options=list(NOISE),
                    default=MODEL_DEFAULTS["noise"],
                    tooltip="follows: the noise that the sampler sees in the image moves with the prediction. stays: "
                    "it is what the model predicted, so that the losses change more. stays is exact for Euler's "
                    "method; the samplers with cfg_pp do it by themselves.",
                ),
                io.Float.Input(
                    "anchor",
                    default=MODEL_DEFAULTS["anchor"],
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    round=0.001,
                    tooltip="How far each prediction is drawn to the encoded source, less and less toward the end. Up: "
                    "more of the source stays. It costs nearly no time.",
                ),
                io.Int.Input(
                    "view_size",
                    default=MODEL_DEFAULTS["view_size"],
                    min=64,
                    max=4096,
                    step=8,
                    tooltip="Pixels of the shorter side at which the losses see the image. Up: finer detail, more "
                    "memory. Down: faster.",
                ),
                io.Combo.Input(
                    "gradient",
                    options=list(GRADIENT),
                    default=MODEL_DEFAULTS["gradient"],
                    tooltip="Where the gradient is taken. prediction: at what the model predicts. model: back through "
                    "the diffusion model, which takes twice the time and much memory, and needs a model that is "
                    "neither quantized nor streamed.",
                ),
                io.Combo.Input(
                    "balance",
                    options=list(get_args(BalanceMode)),
                    default=MODEL_DEFAULTS["balance"],
                    tooltip="What the weights of the losses mean. fixed: they multiply the losses, as in the paper. "
                    "adaptive: how much each loss matters, from 0 to 1, whatever the size of its gradient; "
                    "slower.",
                ),
                previous_input(),
            ],
            outputs=options_output(),
        )

    @classmethod
    @checked
    def execute(cls, previous: Options | None = None, **widgets: Any) -> io.NodeOutput:
        return followed_by(previous, widgets)


NODES = [ModelGuidanceOptions]
