"""The variations node, which ranks the results of several seeds by the losses."""

from typing import get_args

from comfy_api.latest import io
from torch import Tensor

from ..diffuseit.errors import InputError
from ..diffuseit.guidance.ranking import check_variations, labels, ranked, score
from ..diffuseit.guidance.rng import SEEDS
from ..diffuseit.images.io import to_tensor
from ..diffuseit.images.resize import FitMode
from ..diffuseit.images.sheet import labeled_grid
from . import estimate, live
from .comfy import events
from .comfy.devices import gradients, to_output
from .images import to_comfy, to_core
from .inputs import checked
from .options import DEFAULTS, make_settings
from .run import SIZES, execute, prepare
from .types import CATEGORY, DDPM, LOSSES, OPTIONS, Losses, Network, Options
from .verdicts import verdicts_on

SEEDS_SHOWN = "diffuseit_seeds"
"""The front end's name of the seeds, by rank (web/js/node/seeds.js)."""


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
                    "options",
                    optional=True,
                    tooltip="From DiffuseIT Preset or option nodes: steps, method, and the rest. Without them: the "
                    "settings that the sampler starts with.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=SEEDS - 1,
                    control_after_generate=True,
                    tooltip="The first seed; the others follow it. The sampler makes the same image again from the "
                    "seed that the grid shows below it.",
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
                    tooltip="Where the image may change (white). Elsewhere the source stays as it is. A mask of "
                    "another size is scaled if it has the shape of the image.",
                ),
                io.Combo.Input(
                    "size",
                    options=list(SIZES),
                    default="model",
                    optional=True,
                    tooltip="The size of the results. model: as the model makes them. source: the size of the source, "
                    "with its detail; what the mask protects stays as it is.",
                ),
                io.Combo.Input(
                    "fit",
                    options=list(get_args(FitMode)),
                    default=DEFAULTS["fit"],
                    optional=True,
                    advanced=True,
                    tooltip="How an image of another shape is fitted to the model. keep: its shape stays. crop: the "
                    "square in the middle. stretch: squashed to a square. Start Options win over it.",
                ),
                io.Int.Input(
                    "part",
                    default=0,
                    min=0,
                    max=255,
                    optional=True,
                    advanced=True,
                    tooltip="With several machines: the number of this one, from 0. Each takes the next `count` seeds, "
                    "so that no two make the same image. With ComfyUI-Distributed: from a Distributed Seed whose seed "
                    "is 0.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="best", tooltip="The result with the lowest losses."),
                io.Image.Output(display_name="ranked", tooltip="All results as a batch, the best first."),
                io.Image.Output(
                    display_name="grid",
                    tooltip="All results side by side, the best at the top left, each above its seed and its score.",
                ),
                io.Int.Output(
                    display_name="best_seed",
                    tooltip="The seed of the best result, to the seed of the sampler.",
                ),
                io.Int.Output(
                    display_name="seeds",
                    is_output_list=True,
                    tooltip="All seeds, that of the best result first. What is connected runs once for each.",
                ),
            ],
            hidden=[io.Hidden.extra_pnginfo, io.Hidden.prompt],
        )

    @classmethod
    @checked
    def execute(
        cls,
        ddpm: Network,
        image: Tensor,
        losses: Losses,
        seed: int,
        count: int,
        options: Options | None = None,
        mask: Tensor | None = None,
        size: str = "model",
        fit: FitMode = "keep",
        part: int = 0,
    ) -> io.NodeOutput:
        seed = (seed + part * count) % SEEDS
        options = options or Options()
        with gradients():
            source = to_core(image)
            check_variations(count, source)
            if options.film is not None:
                raise InputError("options holds images together, and variations are of one: leave it out")
            values = {**DEFAULTS, "fit": fit, **options.values}
            batch = source.expand(count, -1, -1, -1)
            run = prepare(
                ddpm, batch, losses, make_settings(values), seed, values["fit"], mask, options.colors
            )
            result, reporter, plan = execute(run, live.workflow_id(cls.hidden.extra_pnginfo))
            # Scored where the networks are now, which takes less memory than the run.
            device = ddpm.module.device
            scores = score(
                result.pictures.to(device), run.source[:1].to(device), run.losses, ddpm.module, seed, plan
            )
            finished = run.finished(result, size)
            found = ranked(finished, scores, seed)
            # In place of the last preview of the run, which is that of the first seed.
            events.Progress(1).update(1, 1, found.pictures[0])
            # In the order of the seeds, as the images of the steps are.
            reporter.result(finished, verdicts=verdicts_on(result.pictures, run.source, run.losses))
            estimate.note(cls.hidden.prompt, reporter.figures())
            pictures = to_comfy(found.pictures)
            sheet = to_comfy(to_tensor(labeled_grid(found.pictures, labels(found))))
        images = [to_output(part) for part in (pictures[:1], pictures, sheet)]
        seeds = list(found.seeds)
        return io.NodeOutput(*images, seeds[0], seeds, ui={SEEDS_SHOWN: [str(seed) for seed in seeds]})


NODES = [Variations]
