"""Pictures of a film: frames that are translated alone, that hold together, and that are averaged afterwards."""

from collections.abc import Mapping

import torch
from torch import Tensor

from diffuseit.correspondence import consensus, link_estimated
from diffuseit.film import FilmSettings, link_by_flow, translate_sequence
from diffuseit.pocket.benchmark.tasks import Spec, build_tasks
from diffuseit.pocket.world.render import View, render, sample_geometry
from tools.help_pictures.settings import TEXT, Tiles, guides, models, seed

FRAMES, SHOWN, STEP = 9, (3, 5), 1.5
"""How many frames there are, which are shown, and by how much the camera moves from one to the next."""

ALONE = FilmSettings(during=0.0, consensus=0.0)


def filmed(spec: Spec) -> Tiles:
    """Return two frames of a film whose camera goes to the right, and their translations, alone and together."""
    source = _source(spec)
    rows = {"alone": ALONE, "together": FilmSettings()}
    return _tiles({"source": source} | {name: _translated(spec, source, film) for name, film in rows.items()})


def averaged(spec: Spec) -> Tiles:
    """Return two frames that were translated alone, before and after their consensus."""
    source, film = _source(spec), FilmSettings()
    before = _translated(spec, source, ALONE)
    after = consensus(before, link_estimated(source), film.consensus, film.reach)
    return _tiles({"before": before, "after": after})


def _source(spec: Spec) -> Tensor:
    """The frames [N, 3, H, W]."""
    geometry = sample_geometry(spec.domain, [spec.seed])
    return torch.cat(
        [
            render(geometry, [spec.source], [spec.seed], View(offset=(number * STEP, 0.0)))
            for number in range(FRAMES)
        ]
    )


def _translated(spec: Spec, source: Tensor, film: FilmSettings) -> Tensor:
    tasks = build_tasks([spec])
    guide = guides(TEXT, tasks)
    losses = TEXT.build(models(), guide["to"], guide["from_"])
    frames = translate_sequence(
        models().ddpm, source, losses, TEXT.sampler, seed(tasks), film=film, link=link_by_flow
    )
    return torch.stack([frame.picture for frame in frames])


def _tiles(rows: Mapping[str, Tensor]) -> Tiles:
    return {
        f"{name}, frame {number}": frames[number][None] for name, frames in rows.items() for number in SHOWN
    }
