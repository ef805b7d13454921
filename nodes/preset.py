"""A named preset as one node: its losses and its sampler settings."""

from dataclasses import replace

from comfy_api.latest import io

from ..diffuseit.errors import InputError
from ..diffuseit.losses import (
    ColourStatisticsLoss,
    ImageStyleLoss,
    Loss,
    ScheduledLoss,
    SemanticDivergenceLoss,
    StructureLoss,
    TextStyleLoss,
)
from ..diffuseit.presets import PRESETS, TEXT_DEFAULT, Preset
from . import losses, photo_losses
from .images import to_core
from .inputs import checked
from .types import CATEGORY, CLIP_ENSEMBLE, LOSSES, SETTINGS, VIT, Guidance, Settings


class PresetNode(io.ComfyNode):
    """`Preset`."""

    @classmethod
    def define_schema(cls):
        described = "; ".join(f"{preset.name}: {preset.description}" for preset in PRESETS.values())
        return io.Schema(
            node_id="DiffuseITPreset",
            display_name="DiffuseIT Preset",
            category=CATEGORY,
            description="All losses and sampler settings of a named preset: connect both outputs to the sampler.",
            search_aliases=["official", "paper", "defaults", "style transfer", "image translation"],
            inputs=[
                io.Combo.Input(
                    "preset",
                    options=list(PRESETS),
                    default=TEXT_DEFAULT,
                    tooltip=f"Which preset. {described}.",
                ),
                VIT.Input("vit", tooltip="From DiffuseIT Load ViT: holds the structure."),
                CLIP_ENSEMBLE.Input(
                    "clip",
                    optional=True,
                    tooltip="From DiffuseIT Load CLIP Ensemble, for presets guided by text.",
                ),
                io.String.Input(
                    "to_text",
                    default="winter landscape",
                    tooltip="What the picture should become, for presets guided by text.",
                ),
                io.String.Input(
                    "from_text",
                    default="summer landscape",
                    tooltip="What the source shows, for presets guided by text; may be empty.",
                ),
                io.Image.Input(
                    "style_image",
                    optional=True,
                    tooltip="The style picture, for presets guided by a picture.",
                ),
                LOSSES.Input(
                    "previous", optional=True, tooltip="Further losses, which go before the preset's."
                ),
            ],
            outputs=[
                LOSSES.Output(display_name="losses", tooltip="For the sampler, or further loss nodes."),
                SETTINGS.Output(
                    display_name="settings",
                    tooltip="For the sampler, whose own widgets they replace (but the seed).",
                ),
            ],
            hidden=losses.own_id(),
            not_idempotent=True,
        )

    @classmethod
    def validate_inputs(cls, preset, to_text="-"):
        if preset is None:  # linked: not known before the run
            return True
        if preset not in PRESETS:
            return f"there is no preset {preset!r}: use one of {', '.join(PRESETS)}"
        if PRESETS[preset].kind == "image":
            return True
        return losses.why_not(lambda: TextStyleLoss(to=to_text))

    @classmethod
    @checked
    def execute(
        cls, preset, vit, to_text, from_text, clip=None, style_image=None, previous=None
    ) -> io.NodeOutput:
        chosen = PRESETS[preset]
        if chosen.kind == "text" and clip is None:
            raise InputError(f"the preset {preset} is guided by text: connect a CLIP ensemble to 'clip'")
        if chosen.kind == "image" and style_image is None:
            raise InputError(f"the preset {preset} is guided by a picture: connect one to 'style_image'")
        if chosen.kind == "text":
            style_image = None
        node = str(cls.hidden.unique_id)
        own = tuple(
            replace(_guidance(loss, vit, clip, to_text, from_text, style_image), node=node)
            for loss in chosen.losses
        )
        return io.NodeOutput((*(previous or ()), *own), _settings(chosen, style_image))


def _guidance(loss: Loss, vit, clip, to_text, from_text, style_image) -> Guidance:
    if isinstance(loss, StructureLoss):
        return losses.structure(loss, vit)
    if isinstance(loss, SemanticDivergenceLoss):
        return losses.divergence(loss, vit)
    if isinstance(loss, TextStyleLoss):
        return losses.text_style(loss, clip, to_text, from_text)
    if isinstance(loss, ImageStyleLoss):
        return losses.image_style(loss, vit, style_image)
    if isinstance(loss, ColourStatisticsLoss):
        return photo_losses.colour_statistics(loss, style_image)
    if isinstance(loss, ScheduledLoss):
        inner = _guidance(loss.loss, vit, clip, to_text, from_text, style_image)
        return replace(inner, schedules=(*inner.schedules, loss.points))
    return Guidance(loss)


def _settings(preset: Preset, style_image) -> Settings:
    return Settings(preset.sampler, to_core(style_image, "style_image") if preset.colour_match else None)


NODES = [PresetNode]
