"""Option nodes: settings of the sampler that are seldom changed. They connect to its `options` as a chain."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, get_args

from comfy_api.latest import io

from ..diffuseit.guidance.balance import BalanceMode
from ..diffuseit.guidance.settings import SamplerSettings
from ..diffuseit.guidance.solvers import SOLVERS
from ..diffuseit.images.resize import FitMode
from ..diffuseit.losses.base import View
from ..diffuseit.methods import METHODS, AnyMethod, StepRule
from ..diffuseit.presets import PRESETS, TEXT_DEFAULT
from ..diffuseit.schema import bounds_of
from .inputs import checked
from .types import CATEGORY, OPTIONS, Options

MENU = f"{CATEGORY}/options"
METHOD_ITSELF = "the method itself"
CORRESPONDENCES = "DiffuseITCorrespondences"
"""The id of an option node that sets nothing of the sampler itself (`nodes/correspondences.py`)."""

OWN = -1
"""The number in a widget that stands for the method's own value."""


def values_of(settings: SamplerSettings) -> dict[str, Any]:
    """Return sampler settings as one flat table: the method by its name, and its settings beside the others."""
    values = {entry.name: getattr(settings, entry.name) for entry in fields(settings)}
    method = values.pop("method")
    name = next(name for name, kind in METHODS.items() if kind is type(method))
    return values | {"method": name} | {entry.name: getattr(method, entry.name) for entry in fields(method)}


DEFAULTS: Mapping[str, Any] = values_of(PRESETS[TEXT_DEFAULT].sampler) | {"fit": "keep"}
"""The settings of a sampler without options."""


def make_settings(values: Mapping[str, Any]) -> SamplerSettings:
    """Return sampler settings from a table like that of `values_of`. Missing values come from `DEFAULTS`.

    Settings that the method does not have are left out. Raise `InputError` for settings that cannot work.
    """
    values = {**DEFAULTS, **values}
    own = {entry.name for entry in fields(SamplerSettings)} - {"method"}
    method = make_method(values["method"], values)
    return SamplerSettings(method=method, **{name: value for name, value in values.items() if name in own})


def make_method(name: str, values: Mapping[str, Any]) -> AnyMethod:
    """Return the method called `name`, with those of the `values` that it has."""
    kind = METHODS[name]
    return kind(**{entry.name: values[entry.name] for entry in fields(kind) if entry.name in values})


def followed_by(previous: Options | None, values: Mapping[str, Any]) -> io.NodeOutput:
    """Return the options of a node after those of `previous`. Later ones win."""
    before = Options() if previous is None else previous
    return io.NodeOutput(replace(before, values={**before.values, **values}))


def read_guidance(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the widgets of the guidance options as settings."""
    solver = None if values["solver"] == METHOD_ITSELF else values["solver"]
    tail_steps = values["tail_steps"] or None
    return {**values, "solver": solver, "tail_steps": tail_steps if solver else None}


def read_start(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the widgets of the start options as settings."""
    return {**values, "restart_above": values["restart_above"] or None}


def read_method(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the widgets of the method options as settings, without those that are left to the method."""
    return {name: value for name, value in values.items() if value != OWN}


def guidance_widgets(values: Mapping[str, Any]) -> dict[str, Any]:
    """Inverse of `read_guidance`, from a table like that of `values_of`."""
    names = ("guide_from", "guide_until", "backward_until", "view", "balance")
    solver = {"solver": values["solver"] or METHOD_ITSELF, "tail_steps": values["tail_steps"] or 0}
    return {name: values[name] for name in names} | solver


def start_widgets(values: Mapping[str, Any]) -> dict[str, Any]:
    """Inverse of `read_start`."""
    known = {name: values[name] for name in ("start_color", "max_restarts")}
    return {
        "fit": values.get("fit", DEFAULTS["fit"]),
        "restart_above": values["restart_above"] or 0.0,
    } | known


def method_widgets(values: Mapping[str, Any]) -> dict[str, Any]:
    """Inverse of `read_method`."""
    own = {name: values.get(name, OWN) for name in ("eta", "inner_steps", "inner_rate")}
    rule = {"step_rule": values.get("step_rule", DEFAULTS["step_rule"])}
    return rule | own | {"symmetric": values.get("symmetric", False)}


def _fraction(id: str, tooltip: str) -> io.Input:
    """Return the widget of a point in the run, from 0 (start) to 1 (end)."""
    return io.Float.Input(id, default=DEFAULTS[id], min=0.0, max=1.0, step=0.05, round=0.001, tooltip=tooltip)


def previous_input() -> io.Input:
    """Return the socket for options of further nodes."""
    return OPTIONS.Input(
        "previous",
        optional=True,
        tooltip="Further options. This node adds to them, and wins if both set the same.",
    )


def options_output() -> list[io.Output]:
    """Return the output that every option node has."""
    return [OPTIONS.Output(display_name="options", tooltip="To the sampler or another option node.")]


class GuidanceOptions(io.ComfyNode):
    """Sets when the losses act, what they see, and what takes the steps after them."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffuseITGuidanceOptions",
            display_name="DiffuseIT Guidance Options",
            category=MENU,
            description="Sets when the losses act, what they see, and what takes the steps after guidance has "
            "ended.",
            search_aliases=[
                "start end percent",
                "guidance window",
                "solver",
                "adaptive weights",
                "sampler options",
            ],
            inputs=[
                _fraction(
                    "guide_from",
                    "When in the run the losses start, from 0 (start) to 1 (end). Up: more of the first "
                    "steps are unguided.",
                ),
                _fraction(
                    "guide_until",
                    "When in the run the losses stop, from 0 (start) to 1 (end). Up: closer to style and "
                    "structure. Down: the last steps only clean up, which is smoother and faster.",
                ),
                _fraction(
                    "backward_until",
                    "Until when in the run the gradient passes back through the diffusion model, from 0 "
                    "(never) to 1 (end). Up: closer to style and structure. Down: faster; at 0 the run also "
                    "needs much less memory.",
                ),
                io.Combo.Input(
                    "view",
                    options=list(get_args(View)),
                    default=DEFAULTS["view"],
                    tooltip="What the structure and image style losses see. noised: the prediction mixed with the "
                    "noisy image, as in the paper. pred_xstart: the clean prediction.",
                ),
                io.Combo.Input(
                    "balance",
                    options=list(get_args(BalanceMode)),
                    default=DEFAULTS["balance"],
                    tooltip="What the weights of the losses mean. fixed: they multiply the losses, as in the paper. "
                    "adaptive: how much each loss matters, from 0 to 1, whatever the size of its gradient; "
                    "slower.",
                ),
                io.Combo.Input(
                    "solver",
                    options=[METHOD_ITSELF, *SOLVERS],
                    default=METHOD_ITSELF,
                    tooltip="What takes the steps after 'guide_until'. A solver needs fewer steps for the same "
                    "quality.",
                ),
                io.Int.Input(
                    "tail_steps",
                    default=0,
                    min=0,
                    max=1000,
                    tooltip="How many steps the solver takes. Up: finer and slower. 0: every step that is left.",
                ),
                previous_input(),
            ],
            outputs=options_output(),
        )

    @classmethod
    @checked
    def execute(cls, previous: Options | None = None, **widgets: Any) -> io.NodeOutput:
        return followed_by(previous, read_guidance(widgets))


class StartOptions(io.ComfyNode):
    """Sets how the image is fitted to the model, and how a run starts."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        most = int(bounds_of(SamplerSettings, "max_restarts").high)
        return io.Schema(
            node_id="DiffuseITStartOptions",
            display_name="DiffuseIT Start Options",
            category=MENU,
            description="Sets how an image of any shape is fitted to the model, what the run starts with, and "
            "when it starts again.",
            search_aliases=["fit", "crop", "stretch", "start color", "restart", "sampler options"],
            inputs=[
                io.Combo.Input(
                    "fit",
                    options=list(get_args(FitMode)),
                    default=DEFAULTS["fit"],
                    tooltip="How an image of another shape is fitted to the model. keep: its shape stays. crop: the "
                    "square in the middle. stretch: squashed to a square, as in the paper's code.",
                ),
                io.Float.Input(
                    "start_color",
                    default=DEFAULTS["start_color"],
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="How much of the source's mean color the noisy image starts with. Up: the result stays "
                    "as bright and warm as the source; 1 is the paper's. 0: the losses decide how bright and "
                    "warm it becomes.",
                ),
                io.Float.Input(
                    "restart_above",
                    default=DEFAULTS["restart_above"] or 0.0,
                    min=0.0,
                    max=1000.0,
                    step=0.01,
                    tooltip="An image starts again with new noise if its weighted range loss exceeds this value. "
                    "Up: fewer restarts. 0: no restarts. The paper uses 0.01 with its own weights.",
                ),
                io.Int.Input(
                    "max_restarts",
                    default=DEFAULTS["max_restarts"],
                    min=0,
                    max=most,
                    tooltip="How often an image may start again. Up: more tries, and a longer run if they fail.",
                ),
                previous_input(),
            ],
            outputs=options_output(),
        )

    @classmethod
    @checked
    def execute(cls, previous: Options | None = None, **widgets: Any) -> io.NodeOutput:
        return followed_by(previous, read_start(widgets))


class MethodOptions(io.ComfyNode):
    """Sets values of the method."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffuseITMethodOptions",
            display_name="DiffuseIT Method Options",
            category=MENU,
            description="Sets values of the sampler's method. Settings that the chosen method does not have are "
            "ignored.",
            search_aliases=[
                "step rule",
                "eta",
                "inner steps",
                "DDIM",
                "AGG",
                "MPGD",
                "DSG",
                "sampler options",
            ],
            inputs=[
                io.Combo.Input(
                    "step_rule",
                    options=list(get_args(StepRule)),
                    default=DEFAULTS["step_rule"],
                    tooltip="What 'step_size' multiplies (all methods but dsg). normalized: the direction of the "
                    "gradient, so that weights matter only relative to each other. variance: the gradient "
                    "itself, as in the paper; use a step_size of 1. freedom: the direction, with steps as long "
                    "at the end as at the start.",
                ),
                io.Float.Input(
                    "eta",
                    default=OWN,
                    min=OWN,
                    max=1.0,
                    step=0.05,
                    tooltip="Noise in each DDIM step (diffuseit-ddim, agg, mpgd, dsg). Up: more new detail. Down: "
                    "smoother. -1: the method's own value.",
                ),
                io.Int.Input(
                    "inner_steps",
                    default=OWN,
                    min=OWN,
                    max=100,
                    tooltip="Further steps on the prediction within each step (agg, mpgd). Up: closer to the "
                    "losses, slower. -1: the method's own value.",
                ),
                io.Float.Input(
                    "inner_rate",
                    default=OWN,
                    min=OWN,
                    max=10.0,
                    step=0.005,
                    round=0.0001,
                    tooltip="How far each inner step goes (agg). Up: closer to the losses, rougher. -1: the "
                    "method's own value.",
                ),
                io.Boolean.Input(
                    "symmetric",
                    default=False,
                    tooltip="On: guidance also moves the predicted noise (agg, mpgd). The result follows the losses "
                    "more and the source less.",
                ),
                previous_input(),
            ],
            outputs=options_output(),
        )

    @classmethod
    @checked
    def execute(cls, previous: Options | None = None, **widgets: Any) -> io.NodeOutput:
        return followed_by(previous, read_method(widgets))


READERS = {
    "DiffuseITGuidanceOptions": read_guidance,
    "DiffuseITStartOptions": read_start,
    "DiffuseITMethodOptions": read_method,
    CORRESPONDENCES: lambda _: {},
}
"""How to read the widgets of each option node, by node id. Estimates read them without running the node."""

WIDGETS = {
    "DiffuseITGuidanceOptions": guidance_widgets,
    "DiffuseITStartOptions": start_widgets,
    "DiffuseITMethodOptions": method_widgets,
}
"""How to set the widgets of each option node, by node id."""

NODES = [GuidanceOptions, StartOptions, MethodOptions]
