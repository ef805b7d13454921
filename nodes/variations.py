"""The variations node: several seeds of one picture at once, the best by the losses first."""

from comfy_api.latest import io
from torch import Tensor

from ..diffuseit.guidance.ranking import check_variations, grid, ranked, score
from ..diffuseit.models.ddpm import PixelDDPM
from .comfy.devices import gradients, to_output
from .comfy.memory import with_less_memory
from .images import to_comfy, to_core
from .inputs import checked
from .sampler import Run
from .types import CATEGORY, DDPM, LOSSES, SETTINGS, Losses, Network, Settings


class Variations(io.ComfyNode):
    """`diffuseit.vary` with the sampler's way through ComfyUI."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffuseITVariations",
            display_name="DiffuseIT Variations",
            category=CATEGORY,
            description="Translates one picture with several seeds at once and ranks the results by the losses.",
            search_aliases=["best of", "seeds", "batch", "contact sheet", "grid", "choose"],
            inputs=[
                DDPM.Input("ddpm", tooltip="From DiffuseIT Load DDPM."),
                io.Image.Input("image", tooltip="The source: one picture of any size."),
                LOSSES.Input(
                    "losses",
                    tooltip="The end of a chain of loss nodes, or a preset's. They guide, and they say which is best.",
                ),
                SETTINGS.Input("settings", tooltip="From DiffuseIT Preset: how the picture walks."),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="The first seed; the others follow it. The sampler makes any of them again.",
                ),
                io.Int.Input(
                    "count",
                    default=4,
                    min=1,
                    max=64,
                    tooltip="How many. Up: a better best one; time and memory grow with it.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where the picture may change; elsewhere the source survives. Of the picture's size.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="best", tooltip="Where the losses ended lowest."),
                io.Image.Output(display_name="ranked", tooltip="All of them as a batch, the best first."),
                io.Image.Output(
                    display_name="grid", tooltip="All of them side by side, the best at the top left."
                ),
            ],
        )

    @classmethod
    @checked
    def execute(
        cls,
        ddpm: Network[PixelDDPM],
        image: Tensor,
        losses: Losses,
        settings: Settings,
        seed: int,
        count: int,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        with gradients():
            source = to_core(image)
            check_variations(count, source)
            run = Run(ddpm, source.expand(count, -1, -1, -1), losses, settings, seed, "keep", mask)
            result, _, _ = with_less_memory(run.sample, run.needs)
            scores = cls._scores(run, result)
            found = ranked(run.finish(result, at_source_size=False), scores, seed)
            pictures = to_comfy(found.pictures)
            sheet = to_comfy(grid(found.pictures))
        return io.NodeOutput(*(to_output(part) for part in (pictures[:1], pictures, sheet)))

    @staticmethod
    def _scores(run: Run, result: Tensor) -> Tensor:
        """The losses of each picture, evaluated as the run went: where its networks are now."""
        device = run.ddpm.module.device
        source = run.source[:1].to(device)
        return score(result.to(device), source, run.losses, run.seed, run.execution)


NODES = [Variations]
