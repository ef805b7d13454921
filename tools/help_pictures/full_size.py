"""Pictures of results at the size of their source."""

from diffuseit.images.full_size import fit_of, restore
from diffuseit.pocket.benchmark.tasks import Spec, build_tasks
from diffuseit.pocket.world.render import View, render, sample_geometry
from tools.help_pictures.settings import TEXT, Tiles, translated

_VIEW = View(192, 3)


def enlarged(spec: Spec) -> Tiles:
    """Return a translation resized, with the source's detail, and its truth, all three times as large as the model."""
    tasks = build_tasks([spec])
    scene = sample_geometry(spec.domain, [spec.seed])
    source, truth = (render(scene, [style], [spec.seed + 1], _VIEW) for style in (spec.source, spec.target))
    result = translated(TEXT, tasks)
    fit = fit_of(source, result)
    resized, detailed = (restore(fit, result, source, detail=detail) for detail in (0.0, 1.0))
    return {"source": source, "detail 0": resized, "detail 1": detailed, "true result": truth}
