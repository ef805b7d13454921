"""The pocket world: images of a geometry in a style, so that a translation has a ground truth.

They have 64x64 pixels, or those of a `View`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor

from ...errors import InputError
from . import animals, landscape
from .canvas import SIZE, Canvas, Motion, Surfaces, View, uniforms

__all__ = [
    "DOMAINS",
    "SEGMENTS",
    "SIZE",
    "STYLES",
    "Geometry",
    "Motion",
    "Surfaces",
    "View",
    "render",
    "sample_geometry",
    "segment",
    "surfaces",
]

DOMAINS = ("landscape", "animal")
STYLES: dict[str, tuple[str, ...]] = {"landscape": landscape.STYLES, "animal": animals.STYLES}
SEGMENTS: dict[str, tuple[str, ...]] = {"landscape": landscape.SEGMENTS, "animal": animals.SEGMENTS}
_PAINTERS: dict[str, ModuleType] = {"landscape": landscape, "animal": animals}
_TEXTURE_CELLS = 132
_TEXTURE_STREAM = 1 << 61  # so that a texture seed and an equal geometry seed give unrelated numbers
_CPU_CHUNK = 32  # keeps the working set of a chunk in the CPU's cache


@dataclass(frozen=True)
class Geometry:
    """What is in N images and where: params [N, P] uniform numbers, row i made from seed i alone."""

    domain: str
    params: Tensor

    def __len__(self) -> int:
        return len(self.params)

    def __getitem__(self, index: int | slice | Tensor) -> "Geometry":
        """A part of the batch; a single index keeps the batch dimension."""
        if not isinstance(index, slice):
            index = torch.as_tensor(index, device=self.params.device).reshape(-1)
        return Geometry(self.domain, self.params[index])

    def to(self, device: torch.device | str) -> "Geometry":
        return Geometry(self.domain, self.params.to(device))


def sample_geometry(domain: str, seeds: Sequence[int]) -> Geometry:
    """One geometry per seed, on the CPU."""
    if domain not in DOMAINS:
        raise InputError(f"unknown pocket domain {domain!r}: use one of {', '.join(DOMAINS)}")
    return Geometry(
        domain, uniforms(torch.tensor(list(seeds), dtype=torch.int64, device="cpu"), _PAINTERS[domain].PARAMS)
    )


def render(
    geometry: Geometry,
    styles: Sequence[int] | Tensor,
    texture_seeds: Sequence[int],
    view: View | None = None,
    motion: Motion | None = None,
) -> Tensor:
    """Paint each geometry in its style: [N, 3, S, S] float32 in [-1, 1], on the device of the params.

    S is 64, or the size of `view`. `motion` says where the camera and the moving things of each image are.
    """
    device = geometry.params.device
    chosen = _style_indices(geometry, styles).to(device)
    seeds = torch.tensor(list(texture_seeds), dtype=torch.int64, device=device)
    if len(seeds) != len(geometry):
        raise InputError(f"{len(geometry)} geometries need as many texture seeds, got {len(seeds)}")
    texture = uniforms(seeds + _TEXTURE_STREAM, 4 * _TEXTURE_CELLS).view(-1, 4, _TEXTURE_CELLS)
    size = _CPU_CHUNK if device.type == "cpu" else max(len(geometry), 1)
    parts = []
    for start in range(0, len(geometry), size) or (0,):
        part = slice(start, start + size)
        moved = None if motion is None else motion[part]
        canvas = _paint(
            geometry.domain, geometry.params[part], chosen[part], texture[part], view=view, motion=moved
        )
        parts.append(canvas.rgb)
    return torch.cat(parts).mul_(2).sub_(1)


def segment(geometry: Geometry, view: View | None = None) -> Tensor:
    """What each pixel shows: [N, S, S] int64, indices into SEGMENTS[domain]; the same in every style."""
    count, device = len(geometry), geometry.params.device
    texture = torch.zeros(count, 4, _TEXTURE_CELLS, dtype=torch.float32, device=device)
    styles = torch.zeros(count, dtype=torch.int64, device=device)
    labels = _paint(geometry.domain, geometry.params, styles, texture, labeled=True, view=view).labels
    assert labels is not None
    return labels


def surfaces(geometry: Geometry, motion: Motion, view: View | None = None) -> Surfaces:
    """What is seen at each pixel, and how it moves; the same in every style."""
    count, device = len(geometry), geometry.params.device
    texture = torch.zeros(count, 4, _TEXTURE_CELLS, dtype=torch.float32, device=device)
    styles = torch.zeros(count, dtype=torch.int64, device=device)
    found = _paint(geometry.domain, geometry.params, styles, texture, view=view, motion=motion).surfaces
    assert found is not None
    return found


def _paint(
    domain: str,
    params: Tensor,
    styles: Tensor,
    texture: Tensor,
    labeled: bool = False,
    view: View | None = None,
    motion: Motion | None = None,
) -> Canvas:
    canvas = Canvas(len(params), SEGMENTS[domain], params.device, view, motion)
    if labeled:
        canvas.record_labels()
    _PAINTERS[domain].draw(canvas, params, styles, texture)
    return canvas


def _style_indices(geometry: Geometry, styles: Sequence[int] | Tensor) -> Tensor:
    names = STYLES[geometry.domain]
    indices = torch.as_tensor(styles, dtype=torch.int64, device="cpu")
    if indices.shape != (len(geometry),):
        raise InputError(f"{len(geometry)} geometries need as many styles, got shape {tuple(indices.shape)}")
    if len(indices) and not (int(indices.min()) >= 0 and int(indices.max()) < len(names)):
        raise InputError(
            f"{geometry.domain} styles are numbered 0 to {len(names) - 1}, got {indices.tolist()}"
        )
    return indices
