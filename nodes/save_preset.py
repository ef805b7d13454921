"""The node that saves the losses of a graph, and the settings of its sampler, as a preset."""

from collections.abc import Mapping
from typing import Any

from comfy_api.latest import io, ui

from ..diffuseit.errors import InputError
from ..diffuseit.losses import ImageStyleLoss, Loss, TextStyleLoss
from ..diffuseit.preset_files import NameTakenError, write_preset
from ..diffuseit.presets import Kind, Preset
from .before_run import Prompt
from .estimate import has_color_match, settings_of
from .inputs import checked
from .options import make_settings
from .saved_presets import folder
from .types import CATEGORY, LOSSES, Losses

SAMPLERS = ("DiffuseITSampler", "DiffuseITVariations")


class SavePreset(io.ComfyNode):
    """Saves a `Preset`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffuseITSavePreset",
            display_name="DiffuseIT Save Preset",
            category=CATEGORY,
            description="Saves the losses, and the settings of the sampler that they are connected to, as a preset "
            "for DiffuseIT Preset and the command line. Prompts, images, and masks are not part of it. Press "
            "R afterward, and DiffuseIT Preset lists it.",
            search_aliases=["save settings", "own preset", "custom preset", "export", "share"],
            is_output_node=True,
            inputs=[
                LOSSES.Input("losses", tooltip="The end of the chain of loss nodes that the sampler has."),
                io.String.Input(
                    "name",
                    default="my preset",
                    tooltip="The name of the preset, and of its file.",
                ),
                io.String.Input(
                    "description",
                    default="",
                    tooltip="What it is good for, in a sentence. `diffuseit presets` shows it.",
                ),
                io.Boolean.Input(
                    "replace",
                    default=False,
                    tooltip="On: a saved preset of the same name is replaced. Off: it stays, and the node says so.",
                ),
            ],
            outputs=[
                io.String.Output(
                    display_name="file",
                    tooltip="The file, which you can give to others; empty if nothing was saved.",
                )
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
            not_idempotent=True,
        )

    @classmethod
    def fingerprint_inputs(cls, **inputs: Any) -> float:
        # The settings of the sampler are none of this node's inputs.
        return float("nan")

    @classmethod
    @checked
    def execute(cls, losses: Losses, name: str, description: str, replace: bool) -> io.NodeOutput:
        settings, color_match = _settings(cls.hidden.prompt, str(cls.hidden.unique_id))
        own = tuple(one.bound.loss for one in losses)
        preset = Preset(
            name=name.strip(),
            description=description.strip(),
            kind=_kind(own),
            losses=own,
            sampler=make_settings(settings),
            color_match=color_match,
        )
        try:
            path = write_preset(preset, folder(), overwrite=replace)
        except NameTakenError as error:
            # A graph that goes on being changed must still run.
            return io.NodeOutput("", ui=ui.PreviewText(f"Not saved: {error}"))
        return io.NodeOutput(str(path), ui=ui.PreviewText(f"{path.name}\n{path.parent}"))


def _kind(losses: tuple[Loss, ...]) -> Kind:
    by_text = any(isinstance(loss, TextStyleLoss) for loss in losses)
    by_image = any(isinstance(loss, ImageStyleLoss) for loss in losses)
    if by_text == by_image:
        has = "both" if by_text else "neither"
        raise InputError(
            f"a preset has a text style loss or an image style loss, and these losses have {has}"
        )
    return "text" if by_text else "image"


def _settings(prompt: Prompt | None, node: str) -> tuple[Mapping[str, Any], bool]:
    """Return the settings of the sampler with the losses of this node, and whether it matches colors."""
    if not prompt or node not in prompt:
        raise InputError("a preset can be saved only from a graph")
    losses = prompt[node]["inputs"]["losses"]
    beside = [
        one
        for one, what in prompt.items()
        if what["class_type"] in SAMPLERS and what["inputs"].get("losses") == losses
    ]
    if not beside:
        raise InputError(
            "connect the same losses to a sampler too: its steps and method belong to the preset"
        )
    found = []
    for one in beside:
        settings = settings_of(prompt, one)
        if settings is None:
            raise InputError(
                f"a link decides a setting of the node {one}: a preset needs it as a number on the node"
            )
        found.append((settings, has_color_match(prompt, one)))
    if any(other != found[0] for other in found):
        raise InputError(
            f"the nodes {', '.join(beside)} have these losses and other settings: leave one of them"
        )
    return found[0]


NODES = [SavePreset]
