"""Loss nodes. Each adds its loss after those of `previous`, so a chain reads from left to right."""

from typing import Any, get_args

from comfy_api.latest import io
from torch import Tensor

from ..diffuseit.errors import InputError
from ..diffuseit.losses import (
    BoundLoss,
    ColorStatisticsLoss,
    ImageStyleLoss,
    Loss,
    RangeLoss,
    SemanticDivergenceLoss,
    SourceAnchorLoss,
    StructureLoss,
    TextStyleLoss,
)
from ..diffuseit.losses.base import LARGEST_WEIGHT
from ..diffuseit.losses.source_anchor import Norm
from ..diffuseit.presets import default_loss
from .images import to_core
from .inputs import checked, why_not
from .types import CATEGORY, CLIP_ENSEMBLE, LOSSES, VIT, Losses, Network, NodeLoss

MENU = f"{CATEGORY}/losses"


def weight_input(id: str, default: float, tooltip: str, **options: Any) -> io.Input:
    """Return the widget of a weight."""
    return io.Float.Input(
        id, default=default, min=0.0, max=LARGEST_WEIGHT, step=0.01, round=0.0001, tooltip=tooltip, **options
    )


def vit_input(tooltip: str) -> io.Input:
    """Return the socket for a ViT."""
    return VIT.Input("vit", tooltip=f"From DiffuseIT Load ViT. {tooltip}")


def common_inputs() -> list[io.Input]:
    """Return the inputs that every loss node has."""
    return [
        LOSSES.Input(
            "previous",
            optional=True,
            tooltip="The losses so far; this one is added to them. Bypass a loss node, and the chain goes "
            "on without it.",
        ),
        io.Mask.Input(
            "mask",
            optional=True,
            tooltip="Where this loss may change the image (white). Without a mask: everywhere. A mask of "
            "another size is scaled if it has the shape of the image.",
        ),
    ]


def losses_output() -> list[io.Output]:
    """Return the output that every loss node has."""
    return [LOSSES.Output(display_name="losses", tooltip="To the next loss node or the sampler.")]


def own_id() -> list[io.Hidden]:
    """Return the hidden input with the id of the loss node, which its loss carries.

    It needs `not_idempotent`. Otherwise, equal losses of another graph would come from ComfyUI's cache with that id.
    """
    return [io.Hidden.unique_id]


def node_loss(loss: Loss, node: str, mask: Tensor | None = None, **available: Any) -> NodeLoss:
    """Return a loss with the available networks (`Network`) and images [N, 3, H, W] that it needs or uses."""
    networks, inputs = [], {}
    for name in (*loss.needs, *loss.uses):
        given = available.get(name)
        if isinstance(given, Network):
            networks.append(given)
            inputs[name] = given.module
        elif given is not None:
            inputs[name] = given
    return NodeLoss(BoundLoss(loss, inputs, mask), tuple(networks), node)


def chain(
    node: type[io.ComfyNode], previous: Losses | None, loss: Loss, mask: Tensor | None, **available: Any
) -> io.NodeOutput:
    """Return the chain with one more loss, of `node`."""
    return io.NodeOutput((*(previous or ()), node_loss(loss, str(node.hidden.unique_id), mask, **available)))


class StructureLossNode(io.ComfyNode):
    """Adds a `StructureLoss`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        default = default_loss(StructureLoss)
        return io.Schema(
            node_id="DiffuseITStructureLoss",
            display_name="DiffuseIT Structure Loss",
            category=MENU,
            description="Keeps the layout of the source. It compares the keys of a ViT layer: how similar they "
            "are to each other (self-similarity), and whether each place keeps its own key "
            "(contrastive).",
            search_aliases=["keep structure", "layout", "splice", "self-similarity", "DINO loss"],
            inputs=[
                vit_input("Its keys describe the structure."),
                weight_input(
                    "self_similarity",
                    default.self_similarity,
                    "How strongly the layout is kept. Up: shapes and places stay as in the source; too "
                    "high, and the style does not come through. Down: things move and change shape.",
                ),
                weight_input(
                    "contrastive",
                    default.contrastive,
                    "How strongly each place keeps its own content. Up: fine detail stays where it was; too "
                    "high, and the look of the source comes back.",
                ),
                io.Float.Input(
                    "tau",
                    default=default.tau,
                    min=0.001,
                    max=10.0,
                    step=0.01,
                    round=0.0001,
                    advanced=True,
                    tooltip="Temperature of the contrastive term. Up: softer, so neighboring places may mix. Down: "
                    "only the exact place counts.",
                ),
                io.Boolean.Input(
                    "progressive_contrast",
                    default=default.progressive_contrast,
                    advanced=True,
                    tooltip="On: the contrastive weight is halved until the text style is reached, so that style "
                    "comes first. It needs a text style loss in the chain.",
                ),
                io.Boolean.Input(
                    "regularize_content",
                    default=default.regularize_content,
                    advanced=True,
                    tooltip="On: the contrastive weight is doubled once the text style is reached, so that "
                    "structure comes last, as in the paper's text guidance. It needs a text style loss in the "
                    "chain.",
                ),
                *common_inputs(),
                io.Float.Input(
                    "detail",
                    optional=True,
                    default=default.detail,
                    min=0.0,
                    max=2.0,
                    step=0.05,
                    advanced=True,
                    tooltip="How fine the kept structure is. 1: every patch, as in the paper. Down: only larger "
                    "forms, so that textures and small things may change. Up: the keys of an earlier layer too, "
                    "which keep textures and exact places; at 2, only those.",
                ),
            ],
            outputs=losses_output(),
            hidden=own_id(),
            not_idempotent=True,
        )

    @classmethod
    @checked
    def execute(
        cls, vit: Network, previous: Losses | None = None, mask: Tensor | None = None, **settings: Any
    ) -> io.NodeOutput:
        return chain(cls, previous, StructureLoss(**settings), mask, vit=vit)


class TextStyleLossNode(io.ComfyNode):
    """Adds a `TextStyleLoss`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        default = default_loss(TextStyleLoss)
        return io.Schema(
            node_id="DiffuseITTextStyleLoss",
            display_name="DiffuseIT Text Style Loss",
            category=MENU,
            description="Moves the image toward a text. Each CLIP model compares random crops of the image with "
            "the text.",
            search_aliases=[
                "text guided",
                "clip guided",
                "CLIP loss",
                "prompt",
                "style transfer",
                "image translation",
            ],
            inputs=[
                CLIP_ENSEMBLE.Input("clip", tooltip="From DiffuseIT Load CLIP. Its models judge the style."),
                io.String.Input(
                    "to_text",
                    default="winter landscape",
                    tooltip="What the image should become, in a few words: 'watercolor painting', 'tiger'.",
                ),
                io.String.Input(
                    "from_text",
                    default="summer landscape",
                    tooltip="What the source shows, in similar words; may be empty. With it, the image also moves "
                    "away from the old style, not only toward the new one.",
                ),
                weight_input(
                    "weight",
                    default.weight,
                    "How strongly the text guides. Up: more of the new style; too high, and glaring colors "
                    "and patterns appear that only CLIP likes.",
                ),
                io.Float.Input(
                    "lambda_s",
                    default=default.lambda_s,
                    min=0.0,
                    max=2.0,
                    step=0.05,
                    advanced=True,
                    tooltip="How much of 'from_text' is subtracted from the target. Up: further from the old style.",
                ),
                io.Float.Input(
                    "lambda_i",
                    default=default.lambda_i,
                    min=0.0,
                    max=2.0,
                    step=0.05,
                    advanced=True,
                    tooltip="How much of the source is added to the target. Up: more of the content stays, and the "
                    "style is weaker.",
                ),
                io.Int.Input(
                    "crops",
                    default=default.crops,
                    min=0,
                    max=64,
                    advanced=True,
                    tooltip="How many random crops each CLIP model sees in a step. Up: cleaner images, slower "
                    "steps, more memory. 0: the whole image once, with nothing random.",
                ),
                *common_inputs(),
                io.Boolean.Input(
                    "rotate",
                    optional=True,
                    default=default.rotate,
                    advanced=True,
                    tooltip="On: each step uses one CLIP model of the ensemble, in turn, instead of all. This is as "
                    "fast as a single model, and a little less stable.",
                ),
            ],
            outputs=losses_output(),
            hidden=own_id(),
            not_idempotent=True,
        )

    @classmethod
    def validate_inputs(cls, to_text: str | None = None) -> bool | str:
        return why_not(cls, {"to_text": to_text}, lambda: TextStyleLoss(to=to_text))

    @classmethod
    @checked
    def execute(
        cls,
        clip: Network,
        to_text: str,
        from_text: str,
        previous: Losses | None = None,
        mask: Tensor | None = None,
        **settings: Any,
    ) -> io.NodeOutput:
        loss = TextStyleLoss(to=to_text, from_=from_text.strip() or None, **settings)
        return chain(cls, previous, loss, mask, clip=clip)


class ImageStyleLossNode(io.ComfyNode):
    """Adds a `ImageStyleLoss`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        default = default_loss(ImageStyleLoss)
        return io.Schema(
            node_id="DiffuseITImageStyleLoss",
            display_name="DiffuseIT Image Style Loss",
            category=MENU,
            description="Moves the image toward the style of another image: its [CLS] token in a ViT, and its "
            "colors.",
            search_aliases=["image guided", "style transfer", "style image", "appearance", "reference"],
            inputs=[
                vit_input("Its [CLS] token describes the style."),
                io.Image.Input(
                    "style_image",
                    tooltip="The image with the style: one for all sources, or one for each. It may have any size, "
                    "and is cropped to the shape of the source.",
                ),
                weight_input(
                    "cls_token",  # `cls` is taken: the first argument of a node's methods
                    default.cls,
                    "How strongly the look of the style image guides. Up: more of its textures and things; "
                    "too high, and its content appears.",
                ),
                weight_input(
                    "pixels",
                    default.pixels,
                    "How strongly the colors of the style image guide, each at its own place. Up: its "
                    "colors arrive sooner; too high, and the style image shines through.",
                ),
                *common_inputs(),
            ],
            outputs=losses_output(),
            hidden=own_id(),
            not_idempotent=True,
        )

    @classmethod
    @checked
    def execute(
        cls,
        vit: Network,
        style_image: Tensor,
        cls_token: float,
        pixels: float,
        previous: Losses | None = None,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        loss = ImageStyleLoss(cls=cls_token, pixels=pixels)
        return chain(cls, previous, loss, mask, vit=vit, style=to_core(style_image, "style_image"))


class SemanticDivergenceLossNode(io.ComfyNode):
    """Adds a `SemanticDivergenceLoss`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        default = default_loss(SemanticDivergenceLoss)
        return io.Schema(
            node_id="DiffuseITSemanticDivergenceLoss",
            display_name="DiffuseIT Semantic Divergence Loss",
            category=MENU,
            description="Speeds up the change: pushes the meaning of the image (its [CLS] token in a ViT) away "
            "from what it was one step before.",
            search_aliases=["divergence", "speed up", "semantic change"],
            inputs=[
                vit_input("Its [CLS] token describes the meaning."),
                weight_input(
                    "weight",
                    default.weight,
                    "How strongly the image is pushed away from what it was. Up: faster and bolder changes; "
                    "too high, and the image never settles.",
                ),
                io.Float.Input(
                    "until",
                    default=default.until,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    round=0.001,
                    tooltip="When in the run this loss stops, from 0 (start) to 1 (end), so that the last steps can "
                    "settle. Up: it acts longer.",
                ),
                *common_inputs(),
            ],
            outputs=losses_output(),
            hidden=own_id(),
            not_idempotent=True,
        )

    @classmethod
    @checked
    def execute(
        cls, vit: Network, previous: Losses | None = None, mask: Tensor | None = None, **settings: Any
    ) -> io.NodeOutput:
        return chain(cls, previous, SemanticDivergenceLoss(**settings), mask, vit=vit)


class RangeLossNode(io.ComfyNode):
    """Adds a `RangeLoss`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffuseITRangeLoss",
            display_name="DiffuseIT Range Loss",
            category=MENU,
            description="Keeps colors in range: pushes back values beyond black and white.",
            search_aliases=["clamp", "saturation", "burnt colors"],
            inputs=[
                weight_input(
                    "weight",
                    default_loss(RangeLoss).weight,
                    "How strongly values beyond black and white are pushed back. Up: no burnt or glaring "
                    "spots; too high, and the image turns dull.",
                ),
                *common_inputs(),
            ],
            outputs=losses_output(),
            hidden=own_id(),
            not_idempotent=True,
        )

    @classmethod
    @checked
    def execute(
        cls, weight: float, previous: Losses | None = None, mask: Tensor | None = None
    ) -> io.NodeOutput:
        return chain(cls, previous, RangeLoss(weight=weight), mask)


class SourceAnchorLossNode(io.ComfyNode):
    """Adds a `SourceAnchorLoss`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        default = default_loss(SourceAnchorLoss)
        return io.Schema(
            node_id="DiffuseITSourceAnchorLoss",
            display_name="DiffuseIT Source Anchor Loss",
            category=MENU,
            description="Keeps every pixel near the source, so that what need not change stays. With a mask "
            "over the background, it keeps only the background.",
            search_aliases=["keep background", "pixel loss", "stay close", "source colors", "L1 loss"],
            inputs=[
                weight_input(
                    "weight",
                    default.weight,
                    "How strongly pixels are kept. Up: background and colors stay as in the source; too "
                    "high, and the style does not come through.",
                ),
                io.Combo.Input(
                    "norm",
                    options=list(get_args(Norm)),
                    default=default.norm,
                    tooltip="How the distance to the source is measured. l1: weak changes are undone, and strong "
                    "ones pass. l2: everything changes, but less.",
                ),
                *common_inputs(),
            ],
            outputs=losses_output(),
            hidden=own_id(),
            not_idempotent=True,
        )

    @classmethod
    @checked
    def execute(
        cls, weight: float, norm: Norm, previous: Losses | None = None, mask: Tensor | None = None
    ) -> io.NodeOutput:
        return chain(cls, previous, SourceAnchorLoss(weight=weight, norm=norm), mask)


class ColorStatisticsLossNode(io.ComfyNode):
    """Adds a `ColorStatisticsLoss`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        default = default_loss(ColorStatisticsLoss)
        return io.Schema(
            node_id="DiffuseITColorStatisticsLoss",
            display_name="DiffuseIT Color Statistics Loss",
            category=MENU,
            description="Gives the image the colors of a reference, or keeps those of the source. It matches "
            "the mean color and how colors vary together, in the whole image or in each cell of a grid.",
            search_aliases=["color match", "color transfer", "palette", "color drift"],
            inputs=[
                weight_input(
                    "mean",
                    default.mean,
                    "How strongly the mean color is matched. Up: no tint, and the brightness of the "
                    "reference; too high, and the colors of the style are lost.",
                ),
                weight_input(
                    "covariance",
                    default.covariance,
                    "How strongly contrast and the range of colors are matched. Up: as colorful as the "
                    "reference, no more and no less.",
                ),
                io.Int.Input(
                    "grid",
                    default=default.grid,
                    min=1,
                    max=64,
                    tooltip="How many rows and columns of cells are matched. 1: the colors may be anywhere in the "
                    "image. Up: they stay at their places, which also keeps a background.",
                ),
                io.Image.Input(
                    "reference",
                    optional=True,
                    tooltip="The image with the colors: one for all sources, or one for each. It is cropped to the "
                    "shape of the source. Without it: the source itself.",
                ),
                *common_inputs(),
            ],
            outputs=losses_output(),
            hidden=own_id(),
            not_idempotent=True,
        )

    @classmethod
    @checked
    def execute(
        cls,
        mean: float,
        covariance: float,
        grid: int,
        reference: Tensor | None = None,
        previous: Losses | None = None,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        loss = ColorStatisticsLoss(mean=mean, covariance=covariance, grid=grid)
        style = None if reference is None else to_core(reference, "reference")
        return chain(cls, previous, loss, mask, style=style)


class CombineLosses(io.ComfyNode):
    """Joins several chains."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        template = io.Autogrow.TemplatePrefix(
            LOSSES.Input("losses", optional=True, tooltip="A loss node, or a chain of them."),
            prefix="losses",
            min=2,
            max=20,
        )
        return io.Schema(
            node_id="DiffuseITCombineLosses",
            display_name="DiffuseIT Combine Losses",
            category=MENU,
            description="Joins losses from several nodes, side by side instead of in a chain.",
            search_aliases=["add losses", "merge losses", "sum of losses"],
            inputs=[
                io.Autogrow.Input(
                    "inputs",
                    template=template,
                    tooltip="The losses to join. A new socket appears when the last one is connected.",
                )
            ],
            outputs=losses_output(),
        )

    @classmethod
    @checked
    def execute(cls, inputs: io.Autogrow.Type) -> io.NodeOutput:
        combined = tuple(loss for losses in inputs.values() if losses for loss in losses)
        if not combined:
            raise InputError("no losses are connected: connect at least one")
        return io.NodeOutput(combined)


NODES = [
    StructureLossNode,
    TextStyleLossNode,
    ImageStyleLossNode,
    SemanticDivergenceLossNode,
    RangeLossNode,
    SourceAnchorLossNode,
    ColorStatisticsLossNode,
    CombineLosses,
]
