"""Loss nodes for photos: what keeps pixels and colours in place, and weights that change over the run."""

from dataclasses import replace
from typing import get_args

from comfy_api.latest import io

from ..diffuseit.errors import InputError
from ..diffuseit.losses import (
    ColourStatisticsLoss,
    ImageStyleLoss,
    SemanticDivergenceLoss,
    SourceAnchorLoss,
    StructureLoss,
    TextStyleLoss,
)
from ..diffuseit.losses.scheduled import along, ramp
from ..diffuseit.losses.source_anchor import Norm
from ..diffuseit.presets import default_loss
from .images import to_core
from .inputs import checked
from .losses import MENU, chain, common_inputs, losses_output, own_id, weight_input, why_not
from .types import LOSSES, Guidance

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


def colour_statistics(loss: ColourStatisticsLoss, reference) -> Guidance:
    """The colour statistics loss with its picture, if there is one."""
    return Guidance(loss, pictures={} if reference is None else {"target": to_core(reference, "reference")})


class SourceAnchorLossNode(io.ComfyNode):
    """`SourceAnchorLoss`."""

    @classmethod
    def define_schema(cls):
        default = default_loss(SourceAnchorLoss)
        return io.Schema(
            node_id="DiffuseITSourceAnchorLoss",
            display_name="DiffuseIT Source Anchor Loss",
            category=MENU,
            description="Pulls every pixel back to the source, so that what need not change stays. With a mask over "
            "the background it holds the background only.",
            search_aliases=["keep background", "pixel loss", "stay close", "source colours", "L1 loss"],
            inputs=[
                weight_input(
                    "weight",
                    default.weight,
                    "How strongly pixels are held. Up: background and colours stay as in the source; too much and the "
                    "style does not come through.",
                ),
                io.Combo.Input(
                    "norm",
                    options=list(get_args(Norm)),
                    default=default.norm,
                    tooltip="l1: what the style barely needs stays as it was, what it needs much changes freely. l2: "
                    "everything changes, but less far.",
                ),
                *common_inputs(),
            ],
            outputs=losses_output(),
            hidden=own_id(),
            not_idempotent=True,
        )

    @classmethod
    @checked
    def execute(cls, weight, norm, previous=None, mask=None) -> io.NodeOutput:
        return chain(cls, previous, Guidance(SourceAnchorLoss(weight=weight, norm=norm)), mask)


class ColourStatisticsLossNode(io.ComfyNode):
    """`ColourStatisticsLoss`."""

    @classmethod
    def define_schema(cls):
        default = default_loss(ColourStatisticsLoss)
        return io.Schema(
            node_id="DiffuseITColourStatisticsLoss",
            display_name="DiffuseIT Colour Statistics Loss",
            category=MENU,
            description="Gives the picture the colours of a reference, or keeps those of the source: their mean and "
            "how they vary together, of the whole picture or of each cell of a grid.",
            search_aliases=["colour match", "color match", "color transfer", "palette", "colour drift"],
            inputs=[
                weight_input(
                    "mean",
                    default.mean,
                    "How strongly the average colour is matched. Up: no tint, and the reference's brightness; too "
                    "much and the style's own colours are lost.",
                ),
                weight_input(
                    "covariance",
                    default.covariance,
                    "How strongly contrast and the range of colours are matched. Up: as colourful as the reference, "
                    "no more and no less.",
                ),
                io.Int.Input(
                    "grid",
                    default=default.grid,
                    min=1,
                    max=64,
                    tooltip="1: the colours may be anywhere in the picture. Up: they are matched in that many rows and "
                    "columns of cells, each at its place, which also holds a background.",
                ),
                io.Image.Input(
                    "reference",
                    optional=True,
                    tooltip="The picture whose colours are wanted: one for all, or one for each. Without it the "
                    "source. What sticks out over the source's shape is cropped.",
                ),
                *common_inputs(),
            ],
            outputs=losses_output(),
            hidden=own_id(),
            not_idempotent=True,
        )

    @classmethod
    @checked
    def execute(cls, mean, covariance, grid, reference=None, previous=None, mask=None) -> io.NodeOutput:
        loss = ColourStatisticsLoss(mean=mean, covariance=covariance, grid=grid)
        return chain(cls, previous, colour_statistics(loss, reference), mask)


class LossSchedule(io.ComfyNode):
    """`ScheduledLoss` around losses of a chain."""

    @classmethod
    def define_schema(cls):
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
            description="Changes the weights of losses over the run: one factor at first, another at the end, a ramp "
            "between. Put it right behind a loss, or behind a preset. Two in a row multiply.",
            search_aliases=["weight curve", "fade in", "fade out", "start end percent", "schedule weight"],
            inputs=[
                LOSSES.Input("losses", tooltip="A loss node, a chain of them, or a preset's losses."),
                io.Combo.Input(
                    "applies_to",
                    options=list(APPLIES_TO),
                    default="last loss",
                    tooltip="Which losses of the chain so far: the one just before this node, all of them, or those of "
                    "a kind. With the step rule 'normalized', changing all alike changes nothing.",
                ),
                factor(
                    "weight_before",
                    1.0,
                    "What the weights are multiplied by before the ramp. 0: the losses are off, and cost no time.",
                ),
                factor(
                    "weight_after",
                    0.0,
                    "What the weights are multiplied by after the ramp. 0: the losses are off, and the picture settles "
                    "without them.",
                ),
                progress(
                    "ramp_start",
                    0.5,
                    "Where the ramp begins: 0 is the first, noisiest step, where the large forms are made, 1 the last, "
                    "where fine detail is.",
                ),
                progress(
                    "ramp_end",
                    1.0,
                    "Where the ramp ends. The same as ramp_start: a sudden change.",
                ),
                CURVE.Input(
                    "curve",
                    optional=True,
                    extra_dict={"forceInput": True},
                    tooltip="From a Curve Editor, where this ComfyUI has one: replaces the ramp. From left to right "
                    "goes the run; the top is weight_before, the bottom weight_after.",
                ),
            ],
            outputs=losses_output(),
        )

    @classmethod
    def validate_inputs(cls, ramp_start=None, ramp_end=None):
        if ramp_start is None or ramp_end is None:  # linked: not known before the run
            return True
        return why_not(lambda: _check_ramp(ramp_start, ramp_end))

    @classmethod
    @checked
    def execute(
        cls, losses, applies_to, weight_before, weight_after, ramp_start, ramp_end, curve=None
    ) -> io.NodeOutput:
        _check_ramp(ramp_start, ramp_end)
        kinds = APPLIES_TO[applies_to]
        chosen = [i for i, one in enumerate(losses) if kinds is None or isinstance(one.loss, kinds)]
        if not chosen:
            raise InputError(
                f"there are no {applies_to} before this node: choose what it applies to, or move it"
            )
        if kinds is None:
            chosen = chosen[-1:]
        points = (
            ramp(weight_before, weight_after, ramp_start, ramp_end)
            if curve is None
            else along(curve.interp, weight_before, weight_after)
        )
        return io.NodeOutput(
            tuple(
                replace(one, schedules=(*one.schedules, points)) if i in chosen else one
                for i, one in enumerate(losses)
            )
        )


def _check_ramp(start: float, end: float) -> None:
    if start > end:
        raise InputError(f"ramp_start is {start}, after ramp_end {end}: it must not come later")


NODES = [SourceAnchorLossNode, ColourStatisticsLossNode, LossSchedule]
