"""The node that measures images against their sources, whatever made them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import torch
from comfy_api.latest import io, ui
from torch import Tensor

from ..diffuseit.errors import InputError
from ..diffuseit.images.io import to_tensor
from .comfy import devices, events
from .comfy.devices import gradients, to_output
from .images import mask_to_core, to_comfy, to_core
from .inputs import checked
from .types import CATEGORY, CLIP_ENSEMBLE, VIT, Network

# These bring timm and open_clip, which must not be loaded with the pack.
if TYPE_CHECKING:
    from ..diffuseit.evaluation.witnesses import Witnesses
    from ..diffuseit.models.clip import CLIP

MOST_SHOWN = 8
"""How many images the report picture shows: the worst."""

ROOM = 1 << 30
"""Bytes on the device for what the networks compute."""


class Evaluate(io.ComfyNode):
    """`evaluation.measure` and `evaluation.verdict` on ComfyUI's images."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffuseITEvaluate",
            display_name="DiffuseIT Evaluate",
            category=CATEGORY,
            description="Measures an edited image against its source, whatever made it: whether it is still in place, "
            "whether the structure is kept, and whether the text or the style is reached.",
            search_aliases=[
                "metrics",
                "score",
                "measure",
                "compare images",
                "quality",
                "structure distance",
                "registration",
                "shift",
                "alignment",
                "edge",
                "CLIP score",
            ],
            is_output_node=True,
            inputs=[
                io.Image.Input(
                    "image", tooltip="What to measure: one image or a batch, from any node and any model."
                ),
                io.Image.Input(
                    "source",
                    tooltip="What it was made from: one source for all images, or one for each. Another size is "
                    "resized to that of the image, and the report says so.",
                ),
                io.String.Input(
                    "to_text",
                    default="",
                    tooltip="What the image should show. Empty: no text is measured. It needs CLIP.",
                ),
                io.String.Input(
                    "from_text",
                    default="",
                    tooltip="What the source shows. With it, the image must be nearer to 'to_text' than to this text. "
                    "Without it, the image must be nearer to 'to_text' than the source is.",
                ),
                VIT.Input(
                    "vit",
                    optional=True,
                    tooltip="From DiffuseIT Load ViT: measures structure and style. Images of 64x64 pixels need none.",
                ),
                CLIP_ENSEMBLE.Input(
                    "clip",
                    optional=True,
                    tooltip="From DiffuseIT Load CLIP: measures the text. Take one that did not guide the image. "
                    "Images of 64x64 pixels need none.",
                ),
                io.Image.Input(
                    "style_image",
                    optional=True,
                    tooltip="An image with the style to reach: one for all images, or one for each. It needs a ViT.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where the image may differ from the source (white). The rest is measured as background.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="report",
                    tooltip=f"The images beside their sources and the edges of both, with figures; of a batch the "
                    f"{MOST_SHOWN} worst.",
                ),
                io.String.Output(display_name="text", tooltip="All figures in words."),
                io.Float.Output(
                    display_name="structure_kept",
                    tooltip="How well the edges of image and source agree, 0 to 1, without any network. 0.5 or more: "
                    "the structure is kept. Of a batch the mean.",
                ),
                io.Float.Output(
                    display_name="target_reached",
                    tooltip="How probable it is that the image shows the target, 0 to 1; 0.5 or more: it is reached. "
                    "With a style image and no text: how much of the way to it the image went. 0 without both. Of a "
                    "batch the mean.",
                ),
                io.Boolean.Output(
                    display_name="in_place",
                    tooltip="Whether nothing moved by a pixel or more, in any image of the batch. Off if that cannot "
                    "be told.",
                ),
            ],
        )

    @classmethod
    @checked
    def execute(
        cls,
        image: Tensor,
        source: Tensor,
        to_text: str,
        from_text: str,
        vit: Network | None = None,
        clip: Network | None = None,
        style_image: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        from ..diffuseit.evaluation.batch import as_picture, find, in_words
        from ..diffuseit.evaluation.measure import Wanted, style_of
        from ..diffuseit.pocket.witnesses import pocket_target

        with gradients():
            pictures, sources = to_core(image), to_core(source, "source")
            styles = None if style_image is None else to_core(style_image, "style_image")
            for name, given in (("source", sources), ("style_image", styles)):
                if given is not None and len(given) not in (1, len(pictures)):
                    raise InputError(
                        f"{name}: {len(given)} for {len(pictures)} images: give one, or one for each"
                    )
            sources = sources.expand(len(pictures), -1, -1, -1)
            masks = None if mask is None else mask_to_core(mask, sources)
            witnesses, device = _networks(pictures, vit, clip)
            to, from_ = to_text.strip() or None, from_text.strip() or None
            progress = events.Progress(len(pictures))
            found = []
            for number, picture in enumerate(pictures.split(1)):
                look = _one(styles, number, device)
                wanted = Wanted(
                    to,
                    from_,
                    None if look is None or witnesses.vit is None else style_of([look], witnesses),
                    _one(masks, number, device),
                    pocket_target(witnesses, to, look),
                )
                found.append(find(picture.to(device), sources[number][None].to(device), wanted, witnesses))
                progress.update(number + 1, len(pictures))
            report = to_comfy(to_tensor(as_picture(found, MOST_SHOWN)))
        text = in_words(found, _notes(witnesses, to, styles))
        verdicts = [one.verdict for one in found]
        reached = [
            one.style_gain if to is None and styles is not None else one.probability for one in verdicts
        ]
        return io.NodeOutput(
            to_output(report),
            text,
            _mean([one.confidence for one in verdicts]),
            max(0.0, _mean(reached)),
            all(one.in_place is True for one in verdicts),
            ui=ui.PreviewText(text),
        )


def _one(batch: Tensor | None, number: int, device: torch.device) -> Tensor | None:
    """The part [1, C, H, W] of a batch for an image; a single one is for all."""
    return None if batch is None else batch[number % len(batch)][None].to(device)


def _networks(pictures: Tensor, vit: Network | None, clip: Network | None) -> tuple[Witnesses, torch.device]:
    """The networks that measure, on their device: those connected, and for small pictures the pocket ones."""
    from ..diffuseit.evaluation.witnesses import Witnesses
    from ..diffuseit.pocket.witnesses import POCKET_SIZE

    small = tuple(pictures.shape[-2:]) == POCKET_SIZE
    base = _pocket() if small else Witnesses("connected")
    connected = [network for network in (vit, clip) if network is not None]
    device = devices.load(connected, ROOM) if connected else torch.device("cpu")
    found = replace(
        base,
        vit=base.vit if vit is None else vit.module,
        clips=base.clips if clip is None else _named(clip),
    )
    return found.to(device), device


@cache
def _pocket() -> Witnesses:
    from ..diffuseit.pocket.witnesses import pocket_witnesses

    return pocket_witnesses()


def _named(clip: Network) -> dict[str, CLIP]:
    """The CLIP models by their names, each with a number where another has its name."""
    found: dict[str, CLIP] = {}
    for model in clip.module.models:
        name = model.name if model.name not in found else f"{model.name} {len(found) + 1}"
        found[name] = model
    return found


def _notes(witnesses: Witnesses, to: str | None, styles: Tensor | None) -> list[str]:
    """What was not measured, and how far what was can be trusted."""
    notes = []
    if to is not None and not witnesses.clips:
        notes.append("The text was not measured: connect DiffuseIT Load CLIP to 'clip'.")
    if styles is not None and witnesses.vit is None:
        notes.append("The style image was not measured: connect DiffuseIT Load ViT to 'vit'.")
    if (to is not None and witnesses.clips) or witnesses.vit is not None:
        notes.append("A network that guided an image is no fair judge of it.")
    return notes


def _mean(values: list[float | None]) -> float:
    """The mean, in which what could not be told counts as 0."""
    return sum(value or 0.0 for value in values) / len(values)


NODES = [Evaluate]
