"""What settings do, for the pictures of the help pages: one scene translated several ways, each under its name."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from diffuseit import Models, SamplerSettings, load_models, translate, vary
from diffuseit.losses.schedule import Points
from diffuseit.pocket.benchmark.tasks import Spec, Tasks, build_tasks
from diffuseit.pocket.models import pocket_ddpm
from diffuseit.pocket.world.render import STYLES
from diffuseit.pocket.world.seeds import HELD_OUT
from diffuseit.presets import IMAGE_DEFAULT, PRESETS, TEXT_DEFAULT, Preset, default_loss

Tiles = dict[str, Tensor]

SEEDS = HELD_OUT.start + (1 << 30) + (1 << 20)  # none of the benchmark's or the demo's
_SEEDS_PER_SCENE = 8
TEXT, IMAGE = PRESETS[TEXT_DEFAULT], PRESETS[IMAGE_DEFAULT]


def scene(domain: str, source: str, target: str, number: int) -> Spec:
    """One translation of its own; runs take `number` for their seed."""
    styles = STYLES[domain]
    return Spec(domain, styles.index(source), styles.index(target), SEEDS + _SEEDS_PER_SCENE * number)


@lru_cache(maxsize=1)
def models() -> Models:
    """The pocket networks, loaded once."""
    return load_models("pocket")


def guides(preset: Preset, tasks: Tasks) -> dict[str, Any]:
    """What guides one task, as `translate` takes it."""
    return {"to": tasks.to[0], "from_": tasks.from_[0]} if preset.kind == "text" else {"style": tasks.style}


def seed(tasks: Tasks) -> int:
    """The run's seed for one task."""
    return (tasks.specs[0].seed - SEEDS) // _SEEDS_PER_SCENE


def translated(
    preset: Preset, tasks: Tasks, mask: Tensor | None = None, networks: Models | None = None
) -> Tensor:
    """The preset's translation of one task, by the pocket networks or `networks`."""
    return translate(
        tasks.source,
        **guides(preset, tasks),
        models=networks or models(),
        preset=preset,
        seed=seed(tasks),
        mask=mask,
    ).pictures


def changed(preset: Preset, loss: type[Any] | None, settings: Mapping[str, Any]) -> Preset:
    """The preset with other settings of a loss, which it gets if it lacks it, or with None of sampler and method."""
    if loss is None:
        return replace(preset, sampler=_changed_sampler(preset.sampler, settings))
    losses = preset.losses
    if not any(isinstance(one, loss) for one in losses):
        losses = (*losses, default_loss(loss))
    return replace(
        preset,
        losses=tuple(replace(one, **settings) if isinstance(one, loss) else one for one in losses),
    )


def _changed_sampler(sampler: SamplerSettings, settings: Mapping[str, Any]) -> SamplerSettings:
    """`sampler` with other settings of its own and, where it has none of that name, of its method."""
    own = {entry.name for entry in fields(sampler)}
    knobs = {name: value for name, value in settings.items() if name not in own}
    others = {name: value for name, value in settings.items() if name in own}
    method = replace(others.pop("method", sampler.method), **knobs)
    return replace(sampler, method=method, **others)


def with_only(preset: Preset, *losses: type[Any]) -> Preset:
    """The preset with its losses of these kinds alone."""
    return replace(preset, losses=tuple(loss for loss in preset.losses if isinstance(loss, losses)))


def scheduled(preset: Preset, loss: type[Any], points: Points) -> Preset:
    """The preset with this schedule of its loss of this kind, in the place of its own."""

    return changed(preset, loss, {"schedules": (points,)})


@dataclass(frozen=True)
class Ways:
    """A scene translated by several presets, which take the same kind of guide."""

    scene: Spec
    presets: Mapping[str, Preset]

    def __call__(self) -> Tiles:
        tasks = build_tasks([self.scene])
        kinds = {preset.kind for preset in self.presets.values()}
        tiles = {"source": tasks.source} | ({"style": tasks.style} if "image" in kinds else {})
        return tiles | {name: translated(preset, tasks) for name, preset in self.presets.items()}


@dataclass(frozen=True)
class Setting:
    """A field of a loss or, with `loss` None, of sampler or method, at a low, its default and a high value.

    All else is as in `preset`. `name` is what the node calls the field, where that is another. `sampler` are other
    settings of sampler and method.
    """

    preset: Preset
    loss: type[Any] | None
    setting: str
    low: float
    high: float
    scene: Spec
    name: str = ""
    sampler: Mapping[str, Any] = field(default_factory=dict)

    @property
    def default(self) -> float:
        preset = changed(self.preset, self.loss, {})
        owners: tuple[Any, ...] = (preset.sampler, preset.sampler.method)
        if self.loss is not None:
            owners = tuple(one for one in preset.losses if isinstance(one, self.loss))
        return next(getattr(owner, self.setting) for owner in owners if hasattr(owner, self.setting))

    def __call__(self) -> Tiles:
        base = changed(self.preset, None, self.sampler)
        values = (("", self.low), (" (default)", self.default), ("", self.high))
        ways = {
            f"{self.name or self.setting} {value:g}{remark}": changed(base, self.loss, {self.setting: value})
            for remark, value in values
        }
        return Ways(self.scene, ways)()


@dataclass(frozen=True)
class Precisions:
    """A scene translated by a preset with the diffusion model in each precision."""

    preset: Preset
    scene: Spec

    def __call__(self) -> Tiles:
        tasks = build_tasks([self.scene])
        tiles = {"source": tasks.source}
        for name in ("float32", "bfloat16", "float16"):
            networks = replace(models(), ddpm=pocket_ddpm(dtype=getattr(torch, name)))
            tiles[name] = translated(self.preset, tasks, networks=networks)
        return tiles


@dataclass(frozen=True)
class BestFirst:
    """Variations of a scene, in their order."""

    preset: Preset
    scene: Spec
    count: int

    def __call__(self) -> Tiles:
        tasks = build_tasks([self.scene])
        found = vary(
            tasks.source,
            self.count,
            **guides(self.preset, tasks),
            models=models(),
            preset=self.preset,
            seed=seed(tasks),
        )
        tiles = {"source": tasks.source}
        for place, picture in enumerate(found.pictures):
            tiles[f"seed {found.seeds[place]}: score {found.scores[place]:.3f}"] = picture[None]
        return tiles
