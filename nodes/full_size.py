"""The node that brings a result to its source's size."""

from comfy_api.latest import io
from torch import Tensor

from ..diffuseit.errors import InputError
from .comfy.devices import to_output
from .images import mask_to_core, to_comfy, to_core
from .inputs import checked
from .types import CATEGORY


class FullSize(io.ComfyNode):
    """Brings a result to the size of its source, with the source's detail."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffuseITFullSize",
            display_name="DiffuseIT Full Size",
            category=CATEGORY,
            description="Brings a result to the size of its source, with the edges and the detail of the source. It "
            "works with results of any model that lie on the pixels of their source.",
            search_aliases=["upscale", "guided upsampling", "detail", "high resolution", "guided filter"],
            inputs=[
                io.Image.Input("image", tooltip="The result, smaller than its source and of the same shape."),
                io.Image.Input(
                    "source", tooltip="The image that the result was made from: one for all, or one for each."
                ),
                io.Float.Input(
                    "detail",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="How much of the source's detail the result gets. Up: sharper, with the edges of the "
                    "source. 0: resized only. Where colors of source and result have nothing in common, the result "
                    "stays as it is.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where the result counts (white). Elsewhere the source stays as it is. A mask of another "
                    "size is scaled if it has the shape of the source.",
                ),
            ],
            outputs=[io.Image.Output(tooltip="The result at the size of the source.")],
        )

    @classmethod
    @checked
    def execute(
        cls, image: Tensor, source: Tensor, detail: float = 1.0, mask: Tensor | None = None
    ) -> io.NodeOutput:
        from ..diffuseit.images.full_size import fit_of, restore

        result, original = to_core(image), to_core(source, "source")
        if len(original) not in (1, len(result)):
            raise InputError(f"source: {len(original)} images for {len(result)}: give one, or one for each")
        original = original.expand(len(result), -1, -1, -1)
        fit = fit_of(original, result)
        protected = None if mask is None else mask_to_core(mask, original)
        return io.NodeOutput(to_output(to_comfy(restore(fit, result, original, protected, float(detail)))))


NODES = [FullSize]
