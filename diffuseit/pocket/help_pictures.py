"""The pictures of the help pages: what the main settings do, drawn by the product itself.

    python -m diffuseit.pocket.help_pictures [-o FOLDER] [--only NAME]

writes `FOLDER/<node>/<setting>.png`, by default into `web/docs` of this checkout. A few minutes on a CPU.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ..api import Models, load_models
from ..colour import match_colours_batch
from ..losses import ImageStyleLoss, RangeLoss, SemanticDivergenceLoss, StructureLoss, TextStyleLoss
from ..pictures import save_picture
from ..presets import IMAGE_DEFAULT, PRESETS, TEXT_DEFAULT
from ..sampler import sample
from .render import SEGMENTS, STYLES, render, sample_geometry, segment
from .seeds import HELD_OUT
from .sheet import captioned
from .tasks import Spec, Tasks, build_tasks

Tiles = dict[str, Tensor]
Kind = Literal["text", "image"]

_SEEDS = HELD_OUT.start + (1 << 30) + (1 << 20)  # none of the benchmark's or the demo's
_SEEDS_PER_SCENE = 8
_PRESETS = {"text": TEXT_DEFAULT, "image": IMAGE_DEFAULT}
_BEHIND = ("background", "floor")
DOCS = Path(__file__).parents[2] / "web" / "docs"


@dataclass(frozen=True)
class Setting:
    """A field of a loss or, with `loss` None, of the sampler's settings, at a low, its default and a high value.

    `name` is what the node calls it, where that is another. `sampler` are other settings of the sampler.
    """

    kind: Kind
    loss: type[Any] | None
    setting: str
    low: float
    high: float
    scene: Spec
    name: str = ""
    sampler: Mapping[str, Any] = field(default_factory=dict)

    @property
    def default(self) -> float:
        preset = PRESETS[_PRESETS[self.kind]]
        owners = [preset.sampler] if self.loss is None else preset.losses
        owner = next(owner for owner in owners if self.loss is None or isinstance(owner, self.loss))
        return getattr(owner, self.setting)

    def __call__(self) -> Tiles:
        tasks = build_tasks([self.scene])
        tiles = {"source": tasks.source} | ({"style": tasks.style} if self.kind == "image" else {})
        for remark, value in (("", self.low), (" (default)", self.default), ("", self.high)):
            tiles[f"{self.name or self.setting} {value:g}{remark}"] = _translated(
                self.kind, tasks, self.loss, {self.setting: value}, self.sampler
            )
        return tiles


def _translated(
    kind: Kind,
    tasks: Tasks,
    loss: type[Any] | None = None,
    change: Mapping[str, Any] | None = None,
    sampler: Mapping[str, Any] | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """The default preset's translation of one task, with `change` made to its loss, or else to the sampler."""
    models, preset = _models(), PRESETS[_PRESETS[kind]]
    words = (tasks.to, tasks.from_, None) if kind == "text" else (None, None, tasks.style)
    losses = preset.build(models, *words)
    settings = {**(sampler or {}), **({} if loss else change or {})}
    if loss:
        losses = [replace(one, **(change or {})) if isinstance(one, loss) else one for one in losses]
    seed = (tasks.specs[0].seed - _SEEDS) // _SEEDS_PER_SCENE
    result = tasks.source
    for step in sample(
        models.ddpm, tasks.source, losses, replace(preset.sampler, **settings), seed, mask=mask
    ):
        result = step.pred_xstart
    return result.clamp(-1, 1)


@lru_cache(maxsize=1)
def _models() -> Models:
    return load_models("pocket")


def _spec(domain: str, source: str, target: str, number: int) -> Spec:
    styles = STYLES[domain]
    return Spec(domain, styles.index(source), styles.index(target), _SEEDS + _SEEDS_PER_SCENE * number)


def _mask() -> Tiles:
    """The background let go, and held by a mask."""
    spec = _spec("animal", "lion", "leopard", 2)
    tasks = build_tasks([spec])
    behind = torch.tensor([SEGMENTS[spec.domain].index(name) for name in _BEHIND])
    inside = ~torch.isin(segment(sample_geometry(spec.domain, [spec.seed])), behind)
    mask = inside.reshape(1, 1, *tasks.source.shape[-2:]).float()
    return {
        "source": tasks.source,
        "mask": (2 * mask - 1).expand(-1, 3, -1, -1),
        "without mask": _translated("text", tasks),
        "with mask": _translated("text", tasks, mask=mask),
    }


def _colours() -> Tiles:
    tasks = build_tasks([_spec("landscape", "summer", "sunset", 0)])
    matched = match_colours_batch(tasks.source, tasks.style)
    strengths = {f"strength {s:g}": torch.lerp(tasks.source, matched, s) for s in (0.0, 0.5, 1.0)}
    return {"reference": tasks.style, **strengths}


def _examples() -> Tiles:
    tiles: Tiles = {}
    for domain, style in (("landscape", "summer"), ("landscape", "winter"), ("animal", "lion")):
        name = f"{style} landscape" if domain == "landscape" else style
        tiles[name] = render(sample_geometry(domain, [_SEEDS]), [STYLES[domain].index(style)], [_SEEDS])
    behind = torch.tensor([SEGMENTS["animal"].index(name) for name in _BEHIND])
    mask = ~torch.isin(segment(sample_geometry("animal", [_SEEDS])), behind)
    tiles["mask: foreground"] = (2 * mask.float() - 1).reshape(1, 1, 64, 64).expand(-1, 3, -1, -1)
    return tiles


_WINTER = _spec("landscape", "summer", "winter", 0)
_NIGHT = _spec("landscape", "autumn", "night", 1)

PICTURES: dict[str, Callable[[], Tiles]] = {
    "DiffuseITSampler/skip": Setting("text", None, "skip", 5, 30, _NIGHT),
    "DiffuseITSampler/step_size": Setting("text", None, "step_size", 0.1, 2, _NIGHT),
    "DiffuseITSampler/mask": _mask,
    "DiffuseITStructureLoss/contrastive": Setting("text", StructureLoss, "contrastive", 0, 5, _WINTER),
    "DiffuseITTextStyleLoss/weight": Setting("text", TextStyleLoss, "weight", 0.2, 40, _NIGHT),
    "DiffuseITImageStyleLoss/cls_token": Setting(
        "image", ImageStyleLoss, "cls", 0.05, 40, _NIGHT, name="cls_token"
    ),
    "DiffuseITSemanticDivergenceLoss/weight": Setting("text", SemanticDivergenceLoss, "weight", 0, 1, _NIGHT),
    "DiffuseITRangeLoss/weight": Setting(
        "text", RangeLoss, "weight", 0, 20, _WINTER, sampler={"step_size": 2}
    ),
    "DiffuseITMatchColours/strength": _colours,
    "DiffuseITExamplePicture/picture": _examples,
}
"""Node and picture, without the extension."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=DOCS, help="the folder of the help pages")
    parser.add_argument("--only", metavar="NAME", help="part of a name, as in 'Sampler/skip'")
    options = parser.parse_args()
    for name, draw in PICTURES.items():
        if options.only is None or options.only in name:
            save_picture(captioned(draw(), per_row=2), options.output / f"{name}.png")
            print(name, flush=True)


if __name__ == "__main__":
    main()
