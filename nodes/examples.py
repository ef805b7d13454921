"""Images that the pack draws itself, so that the example workflows need no file."""

import torch
from comfy_api.latest import io

from ..diffuseit.pocket.world.render import SEGMENTS, STYLES, render, sample_geometry, segment
from ..diffuseit.pocket.world.seeds import HELD_OUT
from .comfy.devices import to_output
from .images import to_comfy
from .inputs import checked
from .types import CATEGORY

PICTURES = {f"{style} landscape": ("landscape", style) for style in STYLES["landscape"]} | {
    style: ("animal", style) for style in STYLES["animal"]
}
FOREGROUND, BACKGROUND = "foreground", "background"
BEHIND = {"landscape": ("sky", "sun", "cloud"), "animal": ("background", "floor")}
MAX_SCENE = 1_000_000


class ExamplePicture(io.ComfyNode):
    """A scene of the pocket world that no pocket model was trained on."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffuseITExamplePicture",
            display_name="DiffuseIT Example Picture",
            category=f"{CATEGORY}/examples",
            description="Draws a 64x64 landscape or animal that the pocket models know, as a source or as a "
            "style image. Also gives a mask of its foreground or background.",
            search_aliases=["test image", "sample image", "pocket scene", "demo"],
            inputs=[
                io.Combo.Input(
                    "picture",
                    options=list(PICTURES),
                    default=next(iter(PICTURES)),
                    tooltip="What to draw. The same words work as 'from_text' or 'to_text' of a text style loss.",
                ),
                io.Int.Input(
                    "scene",
                    default=0,
                    min=0,
                    max=MAX_SCENE,
                    tooltip="The number of the scene. Another number gives other hills, trees, and clouds, or "
                    "another animal.",
                ),
                io.Combo.Input(
                    "mask_of",
                    options=[FOREGROUND, BACKGROUND],
                    default=FOREGROUND,
                    tooltip="What the mask shows. foreground: the land or the animal. background: the sky, or the "
                    "wall and the floor behind the animal.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The image, 64x64."),
                io.Mask.Output(display_name="mask", tooltip="The part of the image that 'mask_of' names."),
            ],
        )

    @classmethod
    @checked
    def execute(cls, picture: str, scene: int, mask_of: str) -> io.NodeOutput:
        domain, style = PICTURES[picture]
        seed = HELD_OUT.start + scene
        geometry = sample_geometry(domain, [seed])
        image = render(geometry, [STYLES[domain].index(style)], [seed])
        behind = torch.tensor([SEGMENTS[domain].index(name) for name in BEHIND[domain]])
        mask = torch.isin(segment(geometry), behind) == (mask_of == BACKGROUND)
        return io.NodeOutput(to_output(to_comfy(image)), to_output(mask.float()))


NODES = [ExamplePicture]
