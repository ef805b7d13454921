"""The preset node: the losses and the sampler settings of a named preset."""

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..diffuseit.errors import InputError
from ..diffuseit.losses import TextStyleLoss
from ..diffuseit.presets import PRESETS, TEXT_DEFAULT, Preset
from .images import to_core
from .inputs import checked, why_not
from .losses import node_loss, own_id
from .options import values_of
from .saved_presets import names, preset_by, version_of
from .types import CATEGORY, CLIP_ENSEMBLE, LOSSES, OPTIONS, VIT, Losses, Network, Options

NOT_CONNECTED = object()
"""In place of an optional input, in `validate_inputs`: there None is one that is connected."""


class PresetNode(io.ComfyNode):
    """Gives the losses and options of a `Preset`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        described = "; ".join(f"{preset.name}: {preset.description}" for preset in PRESETS.values())
        return io.Schema(
            node_id="DiffuseITPreset",
            display_name="DiffuseIT Preset",
            category=CATEGORY,
            description="Gives all losses and options of a named preset. Connect both outputs to the sampler.",
            search_aliases=["official", "paper", "defaults", "style transfer", "image translation"],
            inputs=[
                io.Combo.Input(
                    "preset",
                    options=names(),
                    default=TEXT_DEFAULT,
                    tooltip=f"Which preset. {described}. After them come those that DiffuseIT Save Preset has "
                    "saved.",
                ),
                VIT.Input("vit", tooltip="From DiffuseIT Load ViT. It keeps the structure."),
                CLIP_ENSEMBLE.Input(
                    "clip",
                    optional=True,
                    tooltip="From DiffuseIT Load CLIP. Presets guided by text need it.",
                ),
                io.String.Input(
                    "to_text",
                    default="winter landscape",
                    tooltip="What the image should become. Presets guided by text need it.",
                ),
                io.String.Input(
                    "from_text",
                    default="summer landscape",
                    tooltip="What the source shows, for presets guided by text. It may be empty.",
                ),
                io.Image.Input(
                    "style_image",
                    optional=True,
                    tooltip="The image with the style. Presets guided by an image need it.",
                ),
                LOSSES.Input(
                    "previous",
                    optional=True,
                    tooltip="Further losses, which come before those of the preset.",
                ),
            ],
            outputs=[
                LOSSES.Output(display_name="losses", tooltip="To the sampler or further loss nodes."),
                OPTIONS.Output(
                    display_name="options",
                    tooltip="To the sampler. They replace its steps, skip, resample, method, and step size.",
                ),
            ],
            hidden=own_id(),
            not_idempotent=True,
        )

    @classmethod
    def validate_inputs(
        cls,
        preset: str | None = None,
        to_text: str | None = None,
        clip: object = NOT_CONNECTED,
        style_image: object = NOT_CONNECTED,
    ) -> bool | str:
        def check() -> None:
            _check_connected(preset, clip is not NOT_CONNECTED, style_image is not NOT_CONNECTED)

        fault = why_not(cls, {"preset": preset}, check)
        if fault is not True:
            return fault
        return why_not(cls, {"preset": preset, "to_text": to_text}, lambda: _check_text(preset, to_text))

    @classmethod
    def fingerprint_inputs(cls, preset: str, **inputs: Any) -> tuple[int, ...]:
        return version_of(preset)

    @classmethod
    @checked
    def execute(
        cls,
        preset: str,
        vit: Network,
        to_text: str,
        from_text: str,
        clip: Network | None = None,
        style_image: Tensor | None = None,
        previous: Losses | None = None,
    ) -> io.NodeOutput:
        _check_connected(preset, clip is not None, style_image is not None)
        chosen = preset_by(preset)
        style = to_core(style_image, "style_image") if chosen.kind == "image" else None
        node = str(cls.hidden.unique_id)
        losses, options = use(chosen, node, vit, clip, to_text, from_text, style)
        return io.NodeOutput((*(previous or ()), *losses), options)


def use(
    preset: Preset,
    node: str,
    vit: Network,
    clip: Network | None,
    to_text: str,
    from_text: str,
    style: Tensor | None,
) -> tuple[Losses, Options]:
    """Return the losses, which carry the id of `node`, and the options of a preset. `style` is [N, 3, H, W]."""
    from_ = from_text.strip() or None
    losses = tuple(
        node_loss(loss.with_prompts(to_text, from_), node, vit=vit, clip=clip, style=style)
        for loss in preset.losses
    )
    return losses, Options(values_of(preset.sampler), style if preset.color_match else None)


def _check_connected(preset: str | None, clip: bool, style_image: bool) -> None:
    kind = preset_by(preset).kind if preset else None
    if kind == "text" and not clip:
        raise InputError(f"the preset {preset} is guided by text: connect DiffuseIT Load CLIP to 'clip'")
    if kind == "image" and not style_image:
        raise InputError(f"the preset {preset} is guided by an image: connect one to 'style_image'")


def _check_text(preset: str | None, to_text: str | None) -> None:
    if preset and preset_by(preset).kind == "text":
        TextStyleLoss(to=to_text)


NODES = [PresetNode]
