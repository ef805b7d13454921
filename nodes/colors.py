"""Color matching as a node of its own."""

import torch
from comfy_api.latest import io

from ..diffuseit.errors import InputError
from ..diffuseit.schema import shown
from . import runtime
from .images import to_comfy, to_core
from .types import CATEGORY


class MatchColors(io.ComfyNode):
    """A picture with the colors of another."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="DiffuseITMatchColours",
            display_name="DiffuseIT Match Colours",
            category=CATEGORY,
            description="Gives a picture the colours of another (Monge-Kantorovich transfer), as the paper's image "
            "guidance ends.",
            search_aliases=["color match", "color transfer", "MKL", "palette"],
            inputs=[
                io.Image.Input("image", tooltip="The picture to recolour."),
                io.Image.Input(
                    "reference", tooltip="The picture whose colours are taken: one, or one for each."
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="How far the colours move: 0 leaves the picture as it is, 1 takes the reference's colours "
                    "altogether.",
                ),
            ],
            outputs=[io.Image.Output(tooltip="The recoloured picture.")],
        )

    @classmethod
    def execute(cls, image, reference, strength) -> io.NodeOutput:
        from ..diffuseit.images.color import match_colors_batch

        if not (isinstance(strength, int | float) and 0 <= strength <= 1):
            raise InputError(f"strength: {shown(strength)} is not a number from 0 to 1")
        picture, target = to_core(image), to_core(reference, "reference")
        if len(target) not in (1, len(picture)):
            raise InputError(
                f"reference: {len(target)} pictures for {len(picture)}: give one, or one for each"
            )
        matched = match_colors_batch(picture, target)
        return io.NodeOutput(runtime.to_output(to_comfy(torch.lerp(picture, matched, float(strength)))))


NODES = [MatchColors]
