"""The translate node: a translation by the preset that suits the networks, in one node."""

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..diffuseit.losses import TextStyleLoss
from ..diffuseit.presets import OWN_STRENGTH
from .comfy.devices import gradients, to_output
from .images import to_comfy, to_core
from .inputs import checked, why_not
from .model_sets import preset_for
from .options import DEFAULTS, make_settings
from .preset import use
from .run import SIZES, prepare
from .sampler import translated
from .types import CATEGORY, MODELS, ModelSet

UNLINKED = object()
"""In place of the style image, if none is connected."""


class Translate(io.ComfyNode):
    """Loads nothing and has no losses to connect: `preset_for` the networks decides both losses and settings."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffuseITTranslate",
            display_name="DiffuseIT Translate",
            category=CATEGORY,
            description="Translates an image toward a text or a style image with the preset that suits the "
            "models. 'Expand to losses' in the menu of the node puts the same losses in its place, one by one.",
            search_aliases=[
                "image translation",
                "translate image",
                "style transfer",
                "text to image translation",
                "restyle",
                "img2img",
                "simple",
                "easy",
            ],
            inputs=[
                MODELS.Input("models", tooltip="From DiffuseIT Load Models."),
                io.Image.Input(
                    "image",
                    tooltip="The source: one image or a batch, of any size. Image i of a batch uses seed + i.",
                ),
                io.String.Input(
                    "to_text",
                    default="winter landscape",
                    tooltip="What the image should become, in a few words: 'watercolor painting', 'tiger'. It does "
                    "not count if a style image is connected.",
                ),
                io.String.Input(
                    "from_text",
                    default="",
                    tooltip="What the source shows, in similar words; may be empty. With it, the image also moves "
                    "away from the old style, not only toward the new one.",
                ),
                io.Float.Input(
                    "strength",
                    default=OWN_STRENGTH,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    round=0.001,
                    tooltip="How much noise is added, and so how much can change. Up: larger changes, slower. Down: "
                    "more of the source stays. 0.5: as in the preset. 0: a single step.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="The seed of the noise. Another seed gives the same style with other details.",
                ),
                io.Combo.Input(
                    "size",
                    options=list(SIZES),
                    default="model",
                    advanced=True,
                    tooltip="The size of the result. model: as the model makes it. source: the size of the "
                    "source, with its detail; what the mask protects stays as it is.",
                ),
                io.Image.Input(
                    "style_image",
                    optional=True,
                    tooltip="An image with the target style, in place of the text: one for all sources, or one for "
                    "each.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where the image may change (white). Elsewhere the source stays as it is. A mask of "
                    "another size is scaled if it has the shape of the image.",
                ),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="The translated image.")],
            hidden=[io.Hidden.unique_id, io.Hidden.extra_pnginfo, io.Hidden.prompt],
        )

    @classmethod
    def validate_inputs(cls, to_text: str | None = None, style_image: Any = UNLINKED) -> bool | str:
        has_style = style_image is not UNLINKED
        return why_not(cls, {"to_text": to_text}, lambda: has_style or TextStyleLoss(to=to_text))

    @classmethod
    @checked
    def execute(
        cls,
        models: ModelSet,
        image: Tensor,
        to_text: str,
        from_text: str,
        strength: float,
        seed: int,
        size: str,
        style_image: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        with gradients():
            style = None if style_image is None else to_core(style_image, "style_image")
            preset = preset_for(models.name, style_image is not None, strength)
            node = str(cls.hidden.unique_id)
            losses, options = use(preset, node, models.vit, models.clip, to_text, from_text, style)
            settings = make_settings(options.values)
            run = prepare(
                models.ddpm, to_core(image), losses, settings, seed, DEFAULTS["fit"], mask, options.colors
            )
            pictures, _ = translated(run, size, cls.hidden)
        return io.NodeOutput(to_output(to_comfy(pictures)))


NODES = [Translate]
