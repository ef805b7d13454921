"""A picture of a film: frames that are translated alone, and frames that hold together."""

from diffuseit.film import FilmSettings, link_by_flow, translate_sequence
from diffuseit.pocket.benchmark.tasks import Spec, build_tasks
from diffuseit.pocket.world.render import View, render, sample_geometry
from tools.help_pictures.settings import TEXT, Tiles, guides, models, seed

FRAMES, SHOWN, STEP = 9, (3, 5), 1.5
"""How many frames there are, which are shown, and by how much the camera moves from one to the next."""

ALONE = FilmSettings(during=0.0, consensus=0.0)


def filmed(spec: Spec) -> Tiles:
    """Return two frames of a film whose camera goes to the right, and their translations."""
    tasks = build_tasks([spec])
    geometry = sample_geometry(spec.domain, [spec.seed])
    source = [
        render(geometry, [spec.source], [spec.seed], View(offset=(number * STEP, 0.0)))[0]
        for number in range(FRAMES)
    ]
    guide = guides(TEXT, tasks)
    losses = TEXT.build(models(), guide["to"], guide["from_"])

    def translated(film: FilmSettings) -> list:
        frames = translate_sequence(
            models().ddpm, source, losses, TEXT.sampler, seed(tasks), film=film, link=link_by_flow
        )
        return [frame.picture for frame in frames]

    rows = {"source": source, "alone": translated(ALONE), "together": translated(FilmSettings())}
    return {
        f"{name}, frame {number}": frames[number][None] for name, frames in rows.items() for number in SHOWN
    }
