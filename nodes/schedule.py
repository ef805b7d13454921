"""The loss schedule node: weights that change over the run."""

from dataclasses import replace
from typing import Any

from comfy_api.latest import io

from ..diffuseit.errors import InputError
from ..diffuseit.losses import ImageStyleLoss, SemanticDivergenceLoss, StructureLoss, TextStyleLoss
from ..diffuseit.losses.schedule import along, ramp
from .inputs import checked, why_not
from .losses import MENU, losses_output
from .types import LOSSES, Losses

CURVE = io.Custom("CURVE")
"""ComfyUI's own type, by its name: the older versions that the pack runs on do not have it."""

APPLIES_TO: dict[str, tuple[type, ...] | None] = {
    "last loss": None,
    "all losses": (object,),
    "style losses": (TextStyleLoss, ImageStyleLoss),
    "structure losses": (StructureLoss,),
    "divergence losses": (SemanticDivergenceLoss,),
}
"""What a schedule changes: losses of these kinds, or the one just before it."""


class LossSchedule(io.ComfyNode):
    """Changes the weights of losses over the run."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        def progress(id: str, default: float, tooltip: str) -> io.Input:
            return io.Float.Input(
                id, default=default, min=0.0, max=1.0, step=0.05, round=0.001, tooltip=tooltip
            )

        def factor(id: str, default: float, tooltip: str) -> io.Input:
            return io.Float.Input(
                id, default=default, min=0.0, max=1000.0, step=0.05, round=0.001, tooltip=tooltip
            )

        return io.Schema(
            node_id="DiffuseITLossSchedule",
            display_name="DiffuseIT Loss Schedule",
            category=MENU,
            description="Changes the weights of losses over the run: one factor before a ramp, another after "
            "it. Put this node right after a loss node or a preset. Two in a row multiply.",
            search_aliases=["weight curve", "fade in", "fade out", "start end percent", "schedule weight"],
            inputs=[
                LOSSES.Input("losses", tooltip="A loss node, a chain of them, or the losses of a preset."),
                io.Combo.Input(
                    "applies_to",
                    options=list(APPLIES_TO),
                    default="last loss",
                    tooltip="Which losses of the chain so far change: the one just before this node, all of them, "
                    "or those of a kind. With the step rule 'normalized', changing all of them alike has no "
                    "effect.",
                ),
                factor(
                    "weight_before",
                    1.0,
                    "What multiplies the weights before the ramp. Up: the losses count more at first. 0: "
                    "they are off and cost no time.",
                ),
                factor(
                    "weight_after",
                    0.0,
                    "What multiplies the weights after the ramp. Up: the losses count more at the end. 0: "
                    "they are off, and the image settles without them.",
                ),
                progress(
                    "ramp_start",
                    0.5,
                    "When in the run the ramp starts. 0: the first, noisiest step, which makes the large "
                    "forms. 1: the last step, which makes fine detail.",
                ),
                progress(
                    "ramp_end",
                    1.0,
                    "When in the run the ramp ends. The same as 'ramp_start': a sudden change.",
                ),
                CURVE.Input(
                    "curve",
                    optional=True,
                    extra_dict={"forceInput": True},
                    tooltip="From a Curve Editor, if this ComfyUI has one. It replaces the ramp: the run goes from "
                    "left to right, the top is weight_before, and the bottom is weight_after.",
                ),
            ],
            outputs=losses_output(),
        )

    @classmethod
    def validate_inputs(cls, ramp_start: float | None = None, ramp_end: float | None = None) -> bool | str:
        ends: dict[str, Any] = {"ramp_start": ramp_start, "ramp_end": ramp_end}
        return why_not(cls, ends, lambda: _check_ramp(**ends))

    @classmethod
    @checked
    def execute(
        cls,
        losses: Losses,
        applies_to: str,
        weight_before: float,
        weight_after: float,
        ramp_start: float,
        ramp_end: float,
        curve: Any = None,
    ) -> io.NodeOutput:
        _check_ramp(ramp_start, ramp_end)
        kinds = APPLIES_TO[applies_to]
        chosen = [i for i, one in enumerate(losses) if kinds is None or isinstance(one.bound.loss, kinds)]
        if not chosen:
            raise InputError(
                f"there are no {applies_to} before this node: choose what it applies to, or move it"
            )
        if kinds is None:
            chosen = chosen[-1:]
        if curve is None:
            points = ramp(weight_before, weight_after, ramp_start, ramp_end)
        else:
            points = along(curve.interp, weight_before, weight_after)
        changed = list(losses)
        for i in chosen:
            bound = losses[i].bound
            loss = replace(bound.loss, schedules=(*bound.loss.schedules, points))
            changed[i] = replace(losses[i], bound=replace(bound, loss=loss))
        return io.NodeOutput(tuple(changed))


def _check_ramp(ramp_start: float, ramp_end: float) -> None:
    if ramp_start > ramp_end:
        raise InputError(f"ramp_start is {ramp_start}, after ramp_end {ramp_end}: it must not come later")


NODES = [LossSchedule]
