"""Colour matching as a node of its own."""

import torch
from comfy_api.latest import io
from torch import Tensor

from .comfy.devices import to_output
from .images import to_comfy, to_core
from .inputs import checked
from .types import CATEGORY


class MatchColours(io.ComfyNode):
    """A picture with the colours of another."""

    @classmethod
    def define_schema(cls) -> io.Schema:
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
    @checked
    def execute(cls, image: Tensor, reference: Tensor, strength: float) -> io.NodeOutput:
        from ..diffuseit.images.color import match_colours_batch

        picture, target = to_core(image), to_core(reference, "reference")
        matched = match_colours_batch(picture.cpu(), target.cpu())
        return io.NodeOutput(to_output(to_comfy(torch.lerp(picture.cpu(), matched, strength))))


NODES = [MatchColours]
