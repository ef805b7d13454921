"""The rows of `diffuseit benchmark pocket --methods`: every method at every number of steps, presets, and variants.

Settings were looked for on tuning seeds, at 10 steps with text; those for images follow them. "official" has the
steps, skipped steps and resampling of the official code (text: 100, 40, 10; image: 200, 80, 10; AGG: 100, 40, 1), with
losses and step rule that suit the pocket networks, whose gradients are of another size; `diffuseit` there is the
paper's algorithm, whose compute everything is compared with.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from typing import Any, Literal, get_args

from ...errors import InputError
from ...guidance.settings import SamplerSettings
from ...losses import (
    AnchorLoss,
    AnyLoss,
    ColorStatisticsLoss,
    ImageStyleLoss,
    RangeLoss,
    StructureLoss,
    TextStyleLoss,
)
from ...losses.schedule import ramp
from ...methods import AGG, DSG, METHODS, MPGD, AnyMethod, DiffuseIT, DiffuseITDDIM, OfficialAGG, StepRule
from ...presets import PRESETS, Preset

Kind = Literal["text", "image"]
KINDS: tuple[Kind, ...] = get_args(Kind)
STEPS = ("10", "20", "40", "official")

Settings = Mapping[str, Any]

_LENGTHS: dict[Kind, dict[str, Settings]] = {
    "text": {
        "10": {"steps": 10, "skip": 3, "resample": 5},
        "20": {"steps": 20, "skip": 7, "resample": 5},
        "40": {"steps": 40, "skip": 15, "resample": 5},
        "official": {"steps": 100, "skip": 40, "resample": 10},
    },
    "image": {
        "10": {"steps": 10, "skip": 3, "resample": 5},
        "20": {"steps": 20, "skip": 7, "resample": 5},
        "40": {"steps": 40, "skip": 15, "resample": 5},
        "official": {"steps": 200, "skip": 80, "resample": 10},
    },
}

_RULE: StepRule = "normalized"

_TUNED: dict[str, dict[Kind, AnyMethod]] = {
    "diffuseit": dict.fromkeys(KINDS, DiffuseIT(step_rule=_RULE, step_size=0.5)),
    "diffuseit-ddim": {
        "text": DiffuseITDDIM(step_rule=_RULE, step_size=1.0),
        "image": DiffuseITDDIM(step_rule=_RULE, step_size=0.5),
    },
    "agg": dict.fromkeys(KINDS, AGG(step_rule=_RULE, step_size=0.5)),
    "agg-official": dict.fromkeys(KINDS, OfficialAGG(step_rule=_RULE, step_size=0.5)),
    "mpgd": {"text": MPGD(step_rule=_RULE, step_size=1.0), "image": MPGD(step_rule=_RULE, step_size=0.5)},
    "dsg": {"text": DSG(step_size=0.5), "image": DSG(step_size=0.6)},
}
"""Settings found on tuning seeds. A method without an entry has its own defaults."""

_FURTHER: dict[str, tuple[AnyLoss, ...]] = {
    "agg": (AnchorLoss(weight=0.3),),
    "agg-official": (AnchorLoss(weight=0.3),),
}
"""Losses that a method has beside those of the preset."""

SHOWN_PRESETS: dict[Kind, tuple[str, ...]] = {
    "text": ("pocket-text", "fast-text", "best-text"),
    "image": ("pocket-image", "fast-image", "best-image"),
}

GROUPS = ("presets", "variants")
"""Beside the methods: presets that ship, and what a part of them is worth."""

_STYLE_FIRST = ramp(0.35, 1.0, 0.0, 0.6)

_BALANCED: dict[Kind, tuple[AnyLoss, ...]] = {
    "text": (
        TextStyleLoss(weight=1.0, crops=3),
        StructureLoss(self_similarity=0.1, contrastive=1.2, schedules=(_STYLE_FIRST,)),
        RangeLoss(weight=0.0005),
    ),
    "image": (
        ImageStyleLoss(cls=1.0, pixels=0.02),
        StructureLoss(self_similarity=0.03, contrastive=0.35, schedules=(_STYLE_FIRST,)),
        ColorStatisticsLoss(mean=0.07, covariance=0.015),
        RangeLoss(weight=0.0005),
    ),
}
"""Importances for adaptive weights, near the shares that the losses of the pocket presets turned out to have."""


@dataclass(frozen=True)
class Contender:
    """A row: `preset` is complete; `steps` is one of `STEPS`, or "preset" for a preset that ships.

    `method` names the preset or the variant where the row is one.
    """

    name: str
    kind: Kind
    method: str
    steps: str
    preset: Preset


def contenders(
    methods: str = "all", kinds: tuple[Kind, ...] = KINDS, rows: str | None = None
) -> list[Contender]:
    """The rows of these methods (names with commas between; "presets" and "variants" are groups; "all" but variants).

    `rows` keeps those whose name fits one of its patterns (`text-*-10,image-dsg-*`).
    Raises `InputError` for a method or a pattern that fits nothing.
    """
    known = (*METHODS, *GROUPS)
    wanted = (*METHODS, "presets") if methods == "all" else tuple(name.strip() for name in methods.split(","))
    if unknown := [name for name in wanted if name not in known]:
        raise InputError(f"unknown methods {', '.join(unknown)}: use 'all' or some of {', '.join(known)}")
    found = []
    for kind in kinds:
        for method in wanted:
            if method == "presets":
                found += [_of_preset(name, kind) for name in SHOWN_PRESETS[kind]]
            elif method == "variants":
                found += _variants(kind)
            else:
                found += [_contender(kind, method, steps) for steps in STEPS]
    if rows is None:
        return found
    patterns = [pattern.strip() for pattern in rows.split(",")]
    names = [one.name for one in found]
    if lost := [pattern for pattern in patterns if not any(fnmatch(name, pattern) for name in names)]:
        raise InputError(f"no row is called {', '.join(lost)}: there are {', '.join(names)}")
    return [one for one in found if any(fnmatch(one.name, pattern) for pattern in patterns)]


def reference(kind: Kind) -> Contender:
    """The paper's algorithm as the official code runs it."""
    return _contender(kind, "diffuseit", "official")


def _contender(kind: Kind, method: str, steps: str) -> Contender:
    base = PRESETS[f"pocket-{kind}"]
    chosen = _TUNED[method][kind] if method in _TUNED else METHODS[method]()
    changes: dict[str, Any] = {"method": chosen, **_LENGTHS[kind][steps]}
    if method == "agg-official":
        changes |= {"resample": 1, "guide_until": 19 / 60}
    if method.startswith("agg") and steps == "official":
        # Those of its code, with an image too.
        changes |= {"steps": 100, "skip": 40, "resample": 1}
    settings: SamplerSettings = replace(base.sampler, **changes)
    preset = replace(base, losses=(*base.losses, *_FURTHER.get(method, ())), sampler=settings)
    return Contender(f"{kind}-{method}-{steps}", kind, method, steps, preset)


def _variants(kind: Kind) -> list[Contender]:
    """Fixed against adaptive weights at four lengths; crops; scales of the structure."""
    plain = _contender(kind, "dsg", "20")
    found = []
    for steps, length in (("10", (10, 3)), ("20", (20, 7)), ("40", (40, 15)), ("70", (70, 26))):
        settings = replace(plain.preset.sampler, steps=length[0], skip=length[1])
        fixed = replace(plain.preset, sampler=settings)
        adaptive = replace(fixed, losses=_BALANCED[kind], sampler=replace(settings, balance="adaptive"))
        found += [_variant(kind, "fixed", steps, fixed), _variant(kind, "adaptive", steps, adaptive)]
    if kind == "text":
        for crops in (1, 8):
            losses = tuple(
                replace(loss, crops=crops) if isinstance(loss, TextStyleLoss) else loss
                for loss in plain.preset.losses
            )
            found.append(_variant(kind, f"crops {crops}", "20", replace(plain.preset, losses=losses)))
    for detail in (0.0, 0.5, 1.5):
        losses = tuple(
            replace(loss, detail=detail) if isinstance(loss, StructureLoss) else loss
            for loss in plain.preset.losses
        )
        found.append(_variant(kind, f"detail {detail}", "20", replace(plain.preset, losses=losses)))
    return found


def _variant(kind: Kind, name: str, steps: str, preset: Preset) -> Contender:
    return Contender(f"{kind}-{name.replace(' ', '')}-{steps}", kind, name, steps, preset)


def _of_preset(name: str, kind: Kind) -> Contender:
    return Contender(name, kind, name, "preset", PRESETS[name])
