"""Translations with a ground truth: the same geometry rendered in another style."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from ..judge import class_index
from ..world.render import DOMAINS, STYLES, View, render, sample_geometry
from ..world.seeds import HELD_OUT

_SEEDS_PER_TASK = 8
_BLUR = 9
_MEAN_OF = 16
_REFERENCE = 1 << 32  # offset of the renders that the Frechet distance compares with


@dataclass(frozen=True)
class Spec:
    """One translation within a domain; `seed` and the seven after it are its own."""

    domain: str
    source: int
    target: int
    seed: int


@dataclass(frozen=True)
class Tasks:
    """N translations. Images are [N, 3, 64, 64] in [-1, 1].

    `truth` is the source's geometry and texture seed in the target style, `ceiling` has another texture seed,
    `floor` another geometry. `style` is one more geometry in the target style: the image to be guided by.
    `classes` [N] are the judge's for the target style.
    """

    specs: list[Spec]
    to: list[str]
    from_: list[str]
    classes: Tensor
    source: Tensor
    truth: Tensor
    ceiling: Tensor
    floor: Tensor
    style: Tensor

    def __len__(self) -> int:
        return len(self.specs)

    @cached_property
    def blur(self) -> Tensor:
        """The sources, smoothed by a box of `_BLUR` pixels: a cheat that keeps the layout and drops the edges."""
        half = _BLUR // 2
        return F.avg_pool2d(F.pad(self.source, (half,) * 4, mode="replicate"), _BLUR, stride=1)

    @cached_property
    def mean(self) -> Tensor:
        """The mean of many renders of the target style: a cheat that has the colors and no layout of its own."""
        return torch.stack([reference_renders(self.specs, copy) for copy in range(_MEAN_OF)]).mean(0)

    def __getitem__(self, part: slice) -> "Tasks":
        return Tasks(**{field.name: getattr(self, field.name)[part] for field in fields(self)})


def draw_specs(indices: Iterable[int], seeds: range = HELD_OUT) -> list[Spec]:
    """The translations of these indices: landscapes and animals by turns, all pairs of styles equally often."""
    return [_spec(index, seeds) for index in indices]


def build_tasks(specs: Sequence[Spec]) -> Tasks:
    """Render what the specs say."""
    sources, targets = [s.source for s in specs], [s.target for s in specs]
    return Tasks(
        specs=list(specs),
        to=[prompt(s.domain, s.target) for s in specs],
        from_=[prompt(s.domain, s.source) for s in specs],
        classes=torch.cat([class_index(s.domain, [s.target]) for s in specs]),
        source=render_specs(specs, sources, geometry=0, texture=1),
        truth=render_specs(specs, targets, geometry=0, texture=1),
        ceiling=render_specs(specs, targets, geometry=0, texture=2),
        floor=render_specs(specs, targets, geometry=3, texture=4),
        style=render_specs(specs, targets, geometry=5, texture=6),
    )


def reference_renders(specs: Sequence[Spec], copy: int) -> Tensor:
    """Renders of the specs' target styles with geometries of their own, others for each `copy`."""
    shift = _REFERENCE * (copy + 1)
    targets = [s.target for s in specs]
    return render_specs(specs, targets, geometry=shift, texture=shift + 1)


def prompt(domain: str, style: int) -> str:
    """How a person asks for a style: "winter landscape", "leopard"."""
    name = STYLES[domain][style]
    return f"{name} landscape" if domain == "landscape" else name


def _spec(index: int, seeds: range) -> Spec:
    domain = DOMAINS[index % len(DOMAINS)]
    styles = len(STYLES[domain])
    pair = index // len(DOMAINS) * 7 % (styles * (styles - 1))  # 7 shares no factor with 30: every pair comes
    source, step = divmod(pair, styles - 1)
    return Spec(domain, source, (source + 1 + step) % styles, seeds.start + index * _SEEDS_PER_TASK)


def render_specs(
    specs: Sequence[Spec], styles: Sequence[int], geometry: int, texture: int, view: View | None = None
) -> Tensor:
    """Render each spec in its style. `geometry` and `texture` say which of the spec's seeds are meant."""
    size = (view or View()).size
    pictures = torch.empty(len(specs), 3, size, size)
    for domain in DOMAINS:
        rows = [row for row, spec in enumerate(specs) if spec.domain == domain]
        if rows:
            scene = sample_geometry(domain, [specs[row].seed + geometry for row in rows])
            textures = [specs[row].seed + texture for row in rows]
            pictures[rows] = render(scene, [styles[row] for row in rows], textures, view)
    return pictures
