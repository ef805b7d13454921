"""Color matching as a node of its own."""

import torch
from comfy_api.latest import io
from torch import Tensor

from ..diffuseit.errors import InputError
from .comfy.devices import to_output
from .images import to_comfy, to_core
from .inputs import checked
from .types import CATEGORY


class MatchColors(io.ComfyNode):
    """An image with the colors of another."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffuseITMatchColors",
            display_name="DiffuseIT Match Colors",
            category=CATEGORY,
            description="Gives an image the colors of another (Monge-Kantorovich transfer), as the paper does "
            "after image guidance.",
            search_aliases=["color match", "color transfer", "MKL", "palette"],
            inputs=[
                io.Image.Input("image", tooltip="The image to recolor."),
                io.Image.Input(
                    "reference",
                    tooltip="The image that gives the colors: one for all images, or one for each.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="How far the colors move. Up: closer to the colors of the reference. 0: no change. 1: "
                    "its colors entirely.",
                ),
            ],
            outputs=[io.Image.Output(tooltip="The recolored image.")],
        )

    @classmethod
    @checked
    def execute(cls, image: Tensor, reference: Tensor, strength: float) -> io.NodeOutput:
        from ..diffuseit.images.color import match_colors_batch

        picture, target = to_core(image), to_core(reference, "reference")
        if len(target) not in (1, len(picture)):
            raise InputError(f"reference: {len(target)} images for {len(picture)}: give one, or one for each")
        matched = match_colors_batch(picture, target)
        return io.NodeOutput(to_output(to_comfy(torch.lerp(picture, matched, float(strength)))))


NODES = [MatchColors]
