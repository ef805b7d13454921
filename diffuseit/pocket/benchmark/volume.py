"""`diffuseit benchmark pocket --task volume`: stacks of slices against the true stack in the target style.

A volume is a scene whose shapes change slowly along a third axis: the sun and a cloud of a landscape move, an animal
comes nearer. Neighbors correspond pixel by pixel, which holds where the shapes do not change. The figure is the
change from slice to slice beyond that of the true stack.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ...correspondence import neighbors
from ..judge import class_index
from ..world.canvas import uniforms
from ..world.render import Geometry, render, sample_geometry
from . import metrics
from .film import SHOWN, Figures, Translations, networks
from .tasks import draw_specs

ROWS = (
    "source",
    "first",
    "truth",
    "alone",
    "same",
    "same-loss",
    "after",
    "during",
    "same-near",
    "film",
    "same-film",
)

_SWEPT = {"landscape": (0, 1, 4, 5), "animal": (6, 7, 8, 9)}
"""Columns of a geometry's parameters: the sun and a cloud; the floor, and the place and the size of an animal."""
_REACH = 0.3
"""How far these parameters, which lie in [0, 1], change from the first slice to the last."""
_SWEEP_STREAM = 1 << 61  # so that directions have nothing to do with the scenes


def measure_volume(
    index: int, *, kind: str, frames: int, rows: Sequence[str], seeds: range
) -> tuple[dict[str, Figures], dict[str, Tensor]]:
    """Return the figures of one volume, and its slices [N, 3, H, W], by row."""
    models, judge = networks()
    spec = draw_specs([index], seeds)[0]
    geometry = swept(sample_geometry(spec.domain, [spec.seed]), spec.seed, frames)
    textures = [spec.seed + 1] * frames
    source, truth = (render(geometry, [style] * frames, textures) for style in (spec.source, spec.target))
    links = neighbors(frames, (source.shape[-2], source.shape[-1]))
    stack = Translations(spec, links, source, models)
    figures, pictures = {}, {}
    for row in rows:
        given = {"source": source, "truth": truth}.get(row)
        made, seconds = (given, 0.0) if given is not None else stack.made(row)
        with torch.no_grad():
            reached = judge(made).argmax(1) == class_index(spec.domain, [spec.target])
        figures[row] = {
            **measure(made, truth),
            "style": reached.double().mean().item(),
            "seconds": seconds / frames,
        }
        pictures[row] = made
    return figures, pictures if index < SHOWN else {}


def swept(geometry: Geometry, seed: int, count: int) -> Geometry:
    """Return `count` scenes of which each is a little different from the one before."""
    columns = list(_SWEPT[geometry.domain])
    directions = uniforms(torch.tensor([seed + _SWEEP_STREAM]), len(columns))[0] * 2 - 1
    params = geometry.params.repeat(count, 1)
    steps = torch.linspace(0, _REACH, count, device="cpu")[:, None]
    params[:, columns] = (params[:, columns] + steps * directions).clamp(0, 1)
    return Geometry(geometry.domain, params)


@torch.no_grad()
def measure(made: Tensor, truth: Tensor) -> Figures:
    """Return the figures of slices [N, 3, H, W] against the true ones.

    `warp` is the mean absolute difference of neighbors in units of [0, 1], `excess` that of this change from the change
    in the true stack: 0 is a stack that changes as the truth does.
    """
    change, true_change = made.diff(dim=0) / 2, truth.diff(dim=0) / 2
    return {
        "warp": change.abs().mean().item(),
        "excess": (change - true_change).abs().mean().item(),
        "ssim": metrics.ssim(made, truth).mean().item(),
        "mae": metrics.mae(made, truth).mean().item(),
    }
