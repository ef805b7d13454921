"""Pictures of what settings do: one scene translated in several ways, each under its name."""

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
    """Return a translation that no other picture shows. Runs use `number` as their seed."""
    styles = STYLES[domain]
    return Spec(domain, styles.index(source), styles.index(target), SEEDS + _SEEDS_PER_SCENE * number)


@lru_cache(maxsize=1)
def models() -> Models:
    """Return the pocket networks, loaded once."""
    return load_models("pocket")


def guides(preset: Preset, tasks: Tasks) -> dict[str, Any]:
    """Return what guides one task, as arguments of `translate`."""
    return {"to": tasks.to[0], "from_": tasks.from_[0]} if preset.kind == "text" else {"style": tasks.style}


def seed(tasks: Tasks) -> int:
    """Return the seed of the run for one task."""
    return (tasks.specs[0].seed - SEEDS) // _SEEDS_PER_SCENE


def translated(
    preset: Preset, tasks: Tasks, mask: Tensor | None = None, networks: Models | None = None
) -> Tensor:
    """Return the preset's translation of one task, by the pocket networks or `networks`."""
    return translate(
        tasks.source,
        **guides(preset, tasks),
        models=networks or models(),
        preset=preset,
        seed=seed(tasks),
        mask=mask,
    ).pictures


def changed(preset: Preset, loss: type[Any] | None, settings: Mapping[str, Any]) -> Preset:
    """Return the preset with other settings of a loss, added if missing; for None, of sampler and method."""
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
    """Return `sampler` with other settings of its own or, if it has none of that name, of its method."""
    own = {entry.name for entry in fields(sampler)}
    knobs = {name: value for name, value in settings.items() if name not in own}
    others = {name: value for name, value in settings.items() if name in own}
    method = replace(others.pop("method", sampler.method), **knobs)
    return replace(sampler, method=method, **others)


def with_only(preset: Preset, *losses: type[Any]) -> Preset:
    """Return the preset with only its losses of these kinds."""
    return replace(preset, losses=tuple(loss for loss in preset.losses if isinstance(loss, losses)))


def scheduled(preset: Preset, loss: type[Any], points: Points) -> Preset:
    """Return the preset with this schedule for its loss of this kind."""

    return changed(preset, loss, {"schedules": (points,)})


@dataclass(frozen=True)
class Ways:
    """Translates a scene by several presets, all guided by text or all by an image."""

    scene: Spec
    presets: Mapping[str, Preset]

    def __call__(self) -> Tiles:
        tasks = build_tasks([self.scene])
        kinds = {preset.kind for preset in self.presets.values()}
        tiles = {"source": tasks.source} | ({"style": tasks.style} if "image" in kinds else {})
        return tiles | {name: translated(preset, tasks) for name, preset in self.presets.items()}


@dataclass(frozen=True)
class Setting:
    """Translates a scene with a field of a loss (None: of sampler or method) at a low, its default, and a high value.

    Everything else is as in `preset`. `name` is the node's name of the field, if it differs. `sampler` has other
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
    """Translates a scene by a preset with the diffusion model in each precision."""

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
    """Makes variations of a scene, the best first."""

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
