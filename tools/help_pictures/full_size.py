"""Pictures of results at the size of their source."""

from diffuseit.images.full_size import fit_of, restore
from diffuseit.pocket.benchmark.tasks import Spec, build_tasks
from diffuseit.pocket.world.render import View, render, sample_geometry
from tools.help_pictures.settings import TEXT, Tiles, translated

_VIEW = View(192, 3)
_SHOWN = 84
"""Pixels of each side of the part that is shown."""


def enlarged(spec: Spec, left: int, top: int) -> Tiles:
    """Return a part of a translation at three times the size of the model, without and with detail, and its truth."""
    tasks = build_tasks([spec])
    scene = sample_geometry(spec.domain, [spec.seed])
    source, truth = (render(scene, [style], [spec.seed + 1], _VIEW) for style in (spec.source, spec.target))
    result = translated(TEXT, tasks)
    fit = fit_of(source, result)
    resized, detailed = (restore(fit, result, source, detail=detail) for detail in (0.0, 1.0))
    tiles = {"source": source, "detail 0": resized, "detail 1": detailed, "true result": truth}
    part = slice(top, top + _SHOWN), slice(left, left + _SHOWN)
    return {name: tile[..., part[0], part[1]] for name, tile in tiles.items()}
