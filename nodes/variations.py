"""The variations node: several seeds of one image at once, the best by the losses first."""

from comfy_api.latest import io
from torch import Tensor

from ..diffuseit.guidance.ranking import check_variations, grid, ranked, score
from .comfy.devices import gradients, to_output
from .images import to_comfy, to_core
from .inputs import checked
from .options import DEFAULTS, make_settings
from .run import execute, prepare
from .types import CATEGORY, DDPM, LOSSES, OPTIONS, Losses, Network, Options


class Variations(io.ComfyNode):
    """`diffuseit.vary` on ComfyUI's images and devices."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffuseITVariations",
            display_name="DiffuseIT Variations",
            category=CATEGORY,
            description="Translates one image with several seeds at once and ranks the results by the losses.",
            search_aliases=["best of", "seeds", "batch", "contact sheet", "grid", "choose"],
            inputs=[
                DDPM.Input("ddpm", tooltip="From DiffuseIT Load DDPM."),
                io.Image.Input("image", tooltip="The source: one image of any size."),
                LOSSES.Input(
                    "losses",
                    tooltip="The end of a chain of loss nodes, or the losses of a preset. They guide, and they rank "
                    "the results.",
                ),
                OPTIONS.Input(
                    "options", tooltip="From DiffuseIT Preset or option nodes: steps, method, and the rest."
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="The first seed; the others follow it. The sampler makes the same image again from any "
                    "of these seeds.",
                ),
                io.Int.Input(
                    "count",
                    default=4,
                    min=1,
                    max=64,
                    tooltip="How many results. Up: the best one gets better; time and memory grow in proportion.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where the image may change (white). Elsewhere the source stays as it is. The mask must "
                    "have the size of the image.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="best", tooltip="The result with the lowest losses."),
                io.Image.Output(display_name="ranked", tooltip="All results as a batch, the best first."),
                io.Image.Output(
                    display_name="grid", tooltip="All results side by side, the best at the top left."
                ),
            ],
        )

    @classmethod
    @checked
    def execute(
        cls,
        ddpm: Network,
        image: Tensor,
        losses: Losses,
        options: Options,
        seed: int,
        count: int,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        with gradients():
            source = to_core(image)
            check_variations(count, source)
            values = {**DEFAULTS, **options.values}
            batch = source.expand(count, -1, -1, -1)
            run = prepare(
                ddpm, batch, losses, make_settings(values), seed, values["fit"], mask, options.colors
            )
            result, _, plan = execute(run)
            # Scored where the networks are now, which takes less memory than the run.
            device = ddpm.module.device
            scores = score(
                result.pictures.to(device), run.source[:1].to(device), run.losses, ddpm.module, seed, plan
            )
            found = ranked(run.fit.undo(result.pictures), scores, seed)
            pictures = to_comfy(found.pictures)
            sheet = to_comfy(grid(found.pictures))
        return io.NodeOutput(*(to_output(part) for part in (pictures[:1], pictures, sheet)))


NODES = [Variations]
