"""Factorial designs of the pocket world: the same geometries in every style."""

import torch
from torch import Tensor

from ..inspection.design import Design
from .world.render import SIZE, STYLES, render, sample_geometry

_FIRST = 1 << 36
"""Seeds from here on belong to these designs, apart from those of the benchmark."""


def pocket_design(domain: str, contents: int, seeds: range) -> Design:
    """Return a design of `contents` geometries in all styles of a domain. Each picture has its own texture seed."""
    styles = STYLES[domain]
    geometries = range(seeds.start + _FIRST, seeds.start + _FIRST + contents)
    textures = geometries.stop

    def picture(content: int, style: int) -> Tensor:
        geometry = sample_geometry(domain, [geometries[content]])
        return render(geometry, torch.tensor([style]), [textures + content * len(styles) + style])

    return Design(
        f"pocket {domain}s",
        tuple(f"scene {number}" for number in range(contents)),
        styles,
        (SIZE, SIZE),
        picture,
    )
