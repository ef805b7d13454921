"""Loss nodes. Each puts its loss behind those of `previous`, so that a chain reads from left to right."""

from dataclasses import replace

from comfy_api.latest import io

from ..diffuseit.errors import DiffuseITError, InputError
from ..diffuseit.losses import ImageStyleLoss, RangeLoss, SemanticDivergenceLoss, StructureLoss, TextStyleLoss
from ..diffuseit.presets import default_loss
from .images import to_core
from .inputs import checked
from .types import CATEGORY, CLIP_ENSEMBLE, LOSSES, VIT, Guidance, Losses, Network

MENU = f"{CATEGORY}/losses"
MAX_WEIGHT = 1e6


def weight_input(id: str, default: float, tooltip: str, **options) -> io.Float.Input:
    """The widget of a weight."""
    return io.Float.Input(
        id, default=default, min=0.0, max=MAX_WEIGHT, step=0.01, round=0.0001, tooltip=tooltip, **options
    )


def vit_input(tooltip: str) -> io.Input:
    """The socket for a ViT."""
    return VIT.Input("vit", tooltip=f"From DiffuseIT Load ViT. {tooltip}")


def common_inputs() -> list[io.Input]:
    """What every loss node ends with."""
    return [
        LOSSES.Input(
            "previous",
            optional=True,
            tooltip="The losses so far, to which this one is added. Bypass a loss node and the chain goes on without.",
        ),
        io.Mask.Input(
            "mask",
            optional=True,
            tooltip="Where this loss may move the picture; without a mask everywhere. Of the picture's size.",
        ),
    ]


def losses_output() -> list[io.Output]:
    """What every loss node gives."""
    return [LOSSES.Output(display_name="losses", tooltip="For the next loss node or the sampler.")]


def own_id() -> list[io.Hidden]:
    """What a loss node is told about itself, and hands on.

    With it goes `not_idempotent`: equal losses of another graph would come from ComfyUI's cache with that node's id.
    """
    return [io.Hidden.unique_id]


def chain(node: type[io.ComfyNode], previous: Losses | None, guidance: Guidance, mask) -> io.NodeOutput:
    """The chain with the loss of `node` more."""
    return io.NodeOutput((*(previous or ()), replace(guidance, mask=mask, node=str(node.hidden.unique_id))))


def why_not(build) -> bool | str:
    """For `validate_inputs`: True, or what is wrong with the settings."""
    try:
        build()
    except DiffuseITError as error:
        return str(error)
    return True


def structure(loss: StructureLoss, vit: Network) -> Guidance:
    """The structure loss with its network."""
    return Guidance(replace(loss, vit=vit.module), (vit,))


def text_style(loss: TextStyleLoss, clip: Network, to_text: str, from_text: str) -> Guidance:
    """The text style loss with its networks and words; an empty `from_text` is none."""
    filled = replace(loss, clip=clip.module, to=to_text, from_=from_text.strip() or None)
    return Guidance(filled, (clip,))


def image_style(loss: ImageStyleLoss, vit: Network, style_image) -> Guidance:
    """The image style loss with its network and picture."""
    return Guidance(replace(loss, vit=vit.module), (vit,), {"target": to_core(style_image, "style_image")})


def divergence(loss: SemanticDivergenceLoss, vit: Network) -> Guidance:
    """The divergence loss with its network."""
    return Guidance(replace(loss, vit=vit.module), (vit,))


class StructureLossNode(io.ComfyNode):
    """`StructureLoss`."""

    @classmethod
    def define_schema(cls):
        default = default_loss(StructureLoss)
        return io.Schema(
            node_id="DiffuseITStructureLoss",
            display_name="DiffuseIT Structure Loss",
            category=MENU,
            description="Holds the layout of the source: the keys of a ViT layer keep their likeness to each other "
            "(self-similarity) and to the source's at the same place (contrastive).",
            search_aliases=["keep structure", "layout", "splice", "self-similarity", "DINO loss"],
            inputs=[
                vit_input("Its keys are the structure."),
                weight_input(
                    "self_similarity",
                    default.self_similarity,
                    "How strongly the layout is held. Up: shapes and places stay as in the source; too much and "
                    "the style does not come through. Down: things move and change shape.",
                ),
                weight_input(
                    "contrastive",
                    default.contrastive,
                    "How strongly each place keeps its own content. Up: fine detail stays where it was; too much "
                    "brings back the source's look.",
                ),
                io.Float.Input(
                    "tau",
                    default=default.tau,
                    min=0.001,
                    max=10.0,
                    step=0.01,
                    round=0.0001,
                    advanced=True,
                    tooltip="Temperature of the contrastive term. Up: softer, neighbouring places may mix. Down: only "
                    "the exact place counts.",
                ),
                io.Boolean.Input(
                    "progressive_contrast",
                    default=default.progressive_contrast,
                    advanced=True,
                    tooltip="On: the contrastive weight is halved until the text style is reached: style first.",
                ),
                io.Boolean.Input(
                    "regularize_content",
                    default=default.regularize_content,
                    advanced=True,
                    tooltip="On: the contrastive weight is doubled once the text style is reached: structure last, "
                    "as the paper's text guidance does.",
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
                    tooltip="What counts as structure. 1: every patch, as in the paper. Down: only larger and larger "
                    "forms, so that textures and small things may change. Up to 2: an earlier layer's keys as "
                    "well, then alone, which hold textures and exact places.",
                ),
            ],
            outputs=losses_output(),
            hidden=own_id(),
            not_idempotent=True,
        )

    @classmethod
    @checked
    def execute(cls, vit, previous=None, mask=None, **settings) -> io.NodeOutput:
        return chain(cls, previous, structure(StructureLoss(**settings), vit), mask)


class TextStyleLossNode(io.ComfyNode):
    """`TextStyleLoss`."""

    @classmethod
    def define_schema(cls):
        default = default_loss(TextStyleLoss)
        return io.Schema(
            node_id="DiffuseITTextStyleLoss",
            display_name="DiffuseIT Text Style Loss",
            category=MENU,
            description="Pulls the picture towards words: an ensemble of CLIPs judges random crops of it.",
            search_aliases=["text guided", "clip guided", "prompt", "style transfer", "image translation"],
            inputs=[
                CLIP_ENSEMBLE.Input(
                    "clip", tooltip="From DiffuseIT Load CLIP Ensemble. They judge the style."
                ),
                io.String.Input(
                    "to_text",
                    default="winter landscape",
                    tooltip="What the picture should become, in a few words: 'watercolour painting', 'tiger'.",
                ),
                io.String.Input(
                    "from_text",
                    default="summer landscape",
                    tooltip="What the source shows, in the same kind of words; may be empty. Saying it makes the "
                    "change go away from the old style and not just towards the new one.",
                ),
                weight_input(
                    "weight",
                    default.weight,
                    "How strongly the words pull. Up: more of the new style; too much gives glaring colours and "
                    "patterns that only CLIP likes.",
                ),
                io.Float.Input(
                    "lambda_s",
                    default=default.lambda_s,
                    min=0.0,
                    max=2.0,
                    step=0.05,
                    advanced=True,
                    tooltip="How much of 'from' is taken away from the goal. Up: further from the old style.",
                ),
                io.Float.Input(
                    "lambda_i",
                    default=default.lambda_i,
                    min=0.0,
                    max=2.0,
                    step=0.05,
                    advanced=True,
                    tooltip="How much of the source picture stays in the goal. Up: the content is kept, the style "
                    "weaker.",
                ),
                io.Int.Input(
                    "crops",
                    default=default.crops,
                    min=0,
                    max=64,
                    advanced=True,
                    tooltip="How many random crops each CLIP sees in a step. Up: cleaner pictures, slower steps, more "
                    "memory. 0: the whole picture once, without chance.",
                ),
                *common_inputs(),
                io.Boolean.Input(
                    "rotate",
                    optional=True,
                    default=default.rotate,
                    advanced=True,
                    tooltip="On: each step asks one CLIP of the ensemble, in turn, not all: as quick as a single "
                    "CLIP, a little less steady.",
                ),
            ],
            outputs=losses_output(),
            hidden=own_id(),
            not_idempotent=True,
        )

    @classmethod
    def validate_inputs(cls, to_text="-"):
        return why_not(lambda: TextStyleLoss(to=to_text))

    @classmethod
    @checked
    def execute(cls, clip, to_text, from_text, previous=None, mask=None, **settings) -> io.NodeOutput:
        return chain(cls, previous, text_style(TextStyleLoss(**settings), clip, to_text, from_text), mask)


class ImageStyleLossNode(io.ComfyNode):
    """`ImageStyleLoss`."""

    @classmethod
    def define_schema(cls):
        default = default_loss(ImageStyleLoss)
        return io.Schema(
            node_id="DiffuseITImageStyleLoss",
            display_name="DiffuseIT Image Style Loss",
            category=MENU,
            description="Pulls the picture towards the style of another: the ViT's [CLS] token and the colours.",
            search_aliases=["image guided", "style transfer", "style image", "appearance", "reference"],
            inputs=[
                vit_input("Its [CLS] token is the style."),
                io.Image.Input(
                    "style_image",
                    tooltip="The picture whose style is wanted: one for all, or one for each. Any size; what sticks "
                    "out over the source's shape is cropped.",
                ),
                weight_input(
                    "cls_token",  # `cls` is taken: the first argument of a node's methods
                    default.cls,
                    "How strongly the look of the style picture pulls. Up: more of its textures and things; too "
                    "much and its content appears.",
                ),
                weight_input(
                    "pixels",
                    default.pixels,
                    "How strongly the style picture's colours pull, each at its own place. Up: its colours sooner; too "
                    "much and it shines through.",
                ),
                *common_inputs(),
            ],
            outputs=losses_output(),
            hidden=own_id(),
            not_idempotent=True,
        )

    @classmethod
    @checked
    def execute(cls, vit, style_image, cls_token, pixels, previous=None, mask=None) -> io.NodeOutput:
        loss = ImageStyleLoss(cls=cls_token, pixels=pixels)
        return chain(cls, previous, image_style(loss, vit, style_image), mask)


class SemanticDivergenceLossNode(io.ComfyNode):
    """`SemanticDivergenceLoss`."""

    @classmethod
    def define_schema(cls):
        default = default_loss(SemanticDivergenceLoss)
        return io.Schema(
            node_id="DiffuseITSemanticDivergenceLoss",
            display_name="DiffuseIT Semantic Divergence Loss",
            category=MENU,
            description="Hurries the change: pushes the picture's meaning (the ViT's [CLS]) away from where it was "
            "one step ago.",
            search_aliases=["divergence", "speed up", "semantic change"],
            inputs=[
                vit_input("Its [CLS] token is the meaning."),
                weight_input(
                    "weight",
                    default.weight,
                    "How hard the picture is pushed away from what it was. Up: quicker and bolder changes; too much "
                    "and it never settles.",
                ),
                io.Int.Input(
                    "until",
                    default=default.until,
                    min=0,
                    max=10000,
                    tooltip="Works while more than this many steps are left, so that the last ones can settle. Up: it "
                    "stops sooner.",
                ),
                *common_inputs(),
            ],
            outputs=losses_output(),
            hidden=own_id(),
            not_idempotent=True,
        )

    @classmethod
    @checked
    def execute(cls, vit, previous=None, mask=None, **settings) -> io.NodeOutput:
        return chain(cls, previous, divergence(SemanticDivergenceLoss(**settings), vit), mask)


class RangeLossNode(io.ComfyNode):
    """`RangeLoss`."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="DiffuseITRangeLoss",
            display_name="DiffuseIT Range Loss",
            category=MENU,
            description="Keeps colours where pictures have them: values beyond black and white are pulled back.",
            search_aliases=["clamp", "saturation", "burnt colours"],
            inputs=[
                weight_input(
                    "weight",
                    default_loss(RangeLoss).weight,
                    "How strongly values outside black to white are pulled back. Up: no burnt or glaring spots; "
                    "too much and the picture turns dull.",
                ),
                *common_inputs(),
            ],
            outputs=losses_output(),
            hidden=own_id(),
            not_idempotent=True,
        )

    @classmethod
    @checked
    def execute(cls, weight, previous=None, mask=None) -> io.NodeOutput:
        return chain(cls, previous, Guidance(RangeLoss(weight=weight)), mask)


class CombineLosses(io.ComfyNode):
    """Several chains as one."""

    @classmethod
    def define_schema(cls):
        template = io.Autogrow.TemplatePrefix(
            LOSSES.Input("losses", optional=True, tooltip="A loss, or a chain of them."),
            prefix="losses",
            min=2,
            max=20,
        )
        return io.Schema(
            node_id="DiffuseITCombineLosses",
            display_name="DiffuseIT Combine Losses",
            category=MENU,
            description="Adds up losses that come from several sides, for those who prefer a fan to a chain.",
            search_aliases=["add losses", "merge losses", "sum of losses"],
            inputs=[io.Autogrow.Input("inputs", template=template)],
            outputs=losses_output(),
        )

    @classmethod
    @checked
    def execute(cls, inputs: io.Autogrow.Type) -> io.NodeOutput:
        combined = tuple(guidance for losses in inputs.values() if losses for guidance in losses)
        if not combined:
            raise InputError("no losses are connected: connect at least one")
        return io.NodeOutput(combined)


NODES = [
    StructureLossNode,
    TextStyleLossNode,
    ImageStyleLossNode,
    SemanticDivergenceLossNode,
    RangeLossNode,
    CombineLosses,
]
