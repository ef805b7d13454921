"""The presets: losses and sampler settings under a name. Nodes, command, and docs take their defaults from here."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from torch import Tensor

from .errors import InputError
from .guidance.settings import SamplerSettings
from .losses import (
    AnchorLoss,
    AnyLoss,
    BoundLoss,
    ColorStatisticsLoss,
    ImageStyleLoss,
    Loss,
    RangeLoss,
    SemanticDivergenceLoss,
    SourceAnchorLoss,
    StructureLoss,
    TextStyleLoss,
    bind,
)
from .methods import MPGD, DiffuseIT, OfficialAGG
from .models.bundle import Models, PresetNames
from .schema import check, shown, text

Prompts = str | Sequence[str]
Kind = Literal["text", "image"]
AnyLossType = TypeVar("AnyLossType", bound=Loss)


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A way to translate: losses, sampler settings, and what happens to the result.

    `kind` says what guides: "text" or "image". `color_match` gives the result the colors of the style image. A
    `ColorStatisticsLoss` matches them too; with text guidance, it matches those of the source.
    """

    name: str = text(longest=100)
    description: str = text(longest=500)
    kind: Kind
    losses: tuple[AnyLoss, ...]
    sampler: SamplerSettings
    color_match: bool = False

    def __post_init__(self) -> None:
        check(self)

    def build(
        self,
        models: Models,
        to: Prompts | None = None,
        from_: Prompts | None = None,
        style: Tensor | None = None,
    ) -> list[BoundLoss]:
        """Return the losses bound to their networks, and to prompts or style images (one, or one per image)."""
        self.check_inputs(to, style)
        losses = [loss.with_prompts(_tuple(to), _tuple(from_)) for loss in self.losses]
        return bind(losses, vit=models.vit, clip=models.clip, style=style)

    def check_inputs(self, to: Prompts | None, style: Tensor | None) -> None:
        """Raise `InputError` if the text or the style image that `kind` asks for is missing."""
        if self.kind == "text" and to is None:
            raise InputError(f"the preset {self.name} is guided by text: say what the image should become")
        if self.kind == "image" and style is None:
            raise InputError(f"the preset {self.name} is guided by an image: give a style image")


def _tuple(prompts: Prompts | None) -> str | tuple[str, ...] | None:
    return prompts if prompts is None or isinstance(prompts, str) else tuple(prompts)


_OFFICIAL_TEXT = Preset(
    name="official-text",
    description="The paper's text guidance as its code runs it, for the full-size networks",
    kind="text",
    losses=(
        TextStyleLoss(),
        StructureLoss(regularize_content=True),
        SemanticDivergenceLoss(until=9 / 60),
        RangeLoss(),
    ),
    sampler=SamplerSettings(steps=100, skip=40, resample=10, view="noised", restart_above=0.01),
)

_OFFICIAL_IMAGE = Preset(
    name="official-image",
    description="The paper's image guidance as its code runs it, for the full-size networks",
    kind="image",
    losses=(ImageStyleLoss(), StructureLoss(), SemanticDivergenceLoss(until=19 / 120), RangeLoss()),
    sampler=SamplerSettings(steps=200, skip=80, resample=10, view="noised", restart_above=0.01),
    color_match=True,
)

_OFFICIAL_AGG_SAMPLER = SamplerSettings(
    steps=100, skip=40, resample=1, method=OfficialAGG(), view="noised", guide_until=19 / 60
)

_OFFICIAL_AGG = Preset(
    name="official-agg",
    description="AGG's text guidance (the same authors, 2023) as its code runs it, for the full-size networks",
    kind="text",
    losses=(
        TextStyleLoss(weight=200.0, progressive_contrast=True, regularize_content=True),
        RangeLoss(),
        AnchorLoss(),
    ),
    sampler=_OFFICIAL_AGG_SAMPLER,
)

_OFFICIAL_AGG_IMAGE = Preset(
    name="official-agg-image",
    description="AGG's image guidance as its code runs it, for the full-size networks",
    kind="image",
    losses=(
        ImageStyleLoss(cls=200.0, pixels=200.0, pixels_view="pred_xstart"),
        RangeLoss(),
        AnchorLoss(),
    ),
    sampler=_OFFICIAL_AGG_SAMPLER,
)

_POCKET_TEXT_STYLE = TextStyleLoss(weight=2.0, crops=3)
_POCKET_IMAGE_STYLE = ImageStyleLoss(cls=1.0, pixels=0.1)
_POCKET_STRUCTURE = StructureLoss(self_similarity=1.0, contrastive=0.1)
_POCKET_DIVERGENCE = SemanticDivergenceLoss(weight=0.01, until=8 / 25)
_POCKET_COLORS = ColorStatisticsLoss(mean=0.3, covariance=0.3)
_POCKET_RANGE = RangeLoss(weight=0.2)
_POCKET_SAMPLER = SamplerSettings(
    steps=40, skip=15, resample=5, method=DiffuseIT(step_rule="normalized", step_size=0.5)
)

_POCKET_TEXT = Preset(
    name="pocket-text",
    description="Text guidance for the small networks that ship with the package: seconds on a laptop",
    kind="text",
    losses=(_POCKET_TEXT_STYLE, _POCKET_STRUCTURE, _POCKET_DIVERGENCE, _POCKET_RANGE),
    sampler=_POCKET_SAMPLER,
)

_POCKET_IMAGE = Preset(
    name="pocket-image",
    description="Image guidance for the small networks that ship with the package: seconds on a laptop",
    kind="image",
    losses=(_POCKET_IMAGE_STYLE, _POCKET_STRUCTURE, _POCKET_DIVERGENCE, _POCKET_COLORS, _POCKET_RANGE),
    sampler=_POCKET_SAMPLER,
)

_COLOR_SPREAD = ColorStatisticsLoss(mean=0.0, covariance=0.3)
"""Keeps the source's contrast and range of colors, since text guidance alone drifts to one hue."""

_FEW_LEVELS = replace(_POCKET_SAMPLER, steps=20, skip=7, resample=16, start_color=0.0)
"""Most visits are at the first level, which settles large forms and colors, and the source's hue is left out."""

_FAST_TEXT = Preset(
    name="fast-text",
    description="Pocket networks: text guidance at an eighth of the paper's compute",
    kind="text",
    losses=(_POCKET_TEXT_STYLE, _POCKET_STRUCTURE, _COLOR_SPREAD, _POCKET_RANGE),
    sampler=replace(_FEW_LEVELS, steps=10, skip=2, resample=7, guide_until=0.85, backward_until=0.0),
)

_BEST_TEXT = Preset(
    name="best-text",
    description="Pocket networks: the text guidance with the best figures, at less than half of the paper's compute",
    kind="text",
    losses=_FAST_TEXT.losses,
    sampler=_FEW_LEVELS,
)

_STYLE_COLORS = ColorStatisticsLoss(mean=0.6, covariance=0.6)

_FAST_IMAGE = Preset(
    name="fast-image",
    description="Pocket networks: image guidance at an eighth of the paper's compute",
    kind="image",
    losses=(
        _POCKET_IMAGE_STYLE,
        replace(_POCKET_STRUCTURE, contrastive=0.12),
        _STYLE_COLORS,
        _POCKET_RANGE,
    ),
    sampler=replace(_FEW_LEVELS, resample=5, guide_until=0.85),
)

_BEST_IMAGE = Preset(
    name="best-image",
    description="Pocket networks: the image guidance with the best figures, at a quarter of the paper's compute",
    kind="image",
    losses=_FAST_IMAGE.losses,
    sampler=_FEW_LEVELS,
)

_LATENT_SAMPLER = SamplerSettings(
    steps=20, skip=8, resample=8, method=MPGD(step_rule="normalized", step_size=1.0), view="pred_xstart"
)
"""The gradient stays at the prediction: no backward pass through the diffusion model, which may be large."""

_LATENT_STRUCTURE = replace(_POCKET_STRUCTURE, self_similarity=3.0, contrastive=0.3)

_LATENT_TEXT = Preset(
    name="latent-text",
    description="Latent diffusion models: the prompt paints, and the losses hold the structure",
    kind="text",
    losses=(replace(_POCKET_TEXT_STYLE, weight=0.6), _LATENT_STRUCTURE, _COLOR_SPREAD, _POCKET_RANGE),
    sampler=_LATENT_SAMPLER,
)

_LATENT_IMAGE = Preset(
    name="latent-image",
    description="Latent diffusion models: a style image, with a prompt or without",
    kind="image",
    losses=(
        _POCKET_IMAGE_STYLE,
        _LATENT_STRUCTURE,
        _STYLE_COLORS,
        _POCKET_RANGE,
    ),
    sampler=_LATENT_SAMPLER,
)

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        _OFFICIAL_TEXT,
        _OFFICIAL_IMAGE,
        _POCKET_TEXT,
        _POCKET_IMAGE,
        _OFFICIAL_AGG,
        _OFFICIAL_AGG_IMAGE,
        _FAST_TEXT,
        _BEST_TEXT,
        _FAST_IMAGE,
        _BEST_IMAGE,
        _LATENT_TEXT,
        _LATENT_IMAGE,
    )
}


def preset_named(name: str) -> Preset:
    """Return a preset by name. Raise `InputError` with the existing names for another."""
    if name not in PRESETS:
        raise InputError(f"there is no preset {name!r}: use one of {', '.join(PRESETS)}")
    return PRESETS[name]


TEXT_DEFAULT, IMAGE_DEFAULT = "best-text", "best-image"
"""The default presets, for the models that need no download. Widgets start with their values."""

_BESIDE: tuple[Loss, ...] = (SourceAnchorLoss(weight=0.3), _POCKET_DIVERGENCE, _STYLE_COLORS)
"""Losses that the default presets lack, or use differently, with weights that suit the others."""


def default_loss(kind: type[AnyLossType]) -> AnyLossType:
    """Return settings of a loss of this kind that suit the default presets; else the loss's own defaults."""
    for loss in (*_BESIDE, *PRESETS[TEXT_DEFAULT].losses, *PRESETS[IMAGE_DEFAULT].losses):
        if isinstance(loss, kind):
            return loss
    return kind()


OWN_STRENGTH = 0.5
"""The strength at which a preset is as it is."""


def at_strength(preset: Preset, strength: float) -> Preset:
    """Return the preset with less or more of the diffusion process, for `strength` from 0 to 1.

    `OWN_STRENGTH` keeps its `skip`, 1 skips nothing, and 0 leaves one step. Between them the number of steps grows
    linearly. Raise `InputError` for another strength.
    """
    if not 0 <= strength <= 1:
        raise InputError(f"the strength is {shown(strength)}: use 0 to 1")
    steps = preset.sampler.steps
    own = steps - preset.sampler.skip
    if strength > OWN_STRENGTH:
        taken = own + (steps - own) * (strength - OWN_STRENGTH) / (1 - OWN_STRENGTH)
    else:
        taken = 1 + (own - 1) * strength / OWN_STRENGTH
    return replace(preset, sampler=replace(preset.sampler, skip=steps - round(taken)))


def settle(
    models: Models | PresetNames,
    kind: Kind,
    preset: str | Preset | None = None,
    steps: int | None = None,
    skip: int | None = None,
    resample: int | None = None,
) -> Preset:
    """Return the preset that `translate` uses for these arguments, with its final numbers.

    `steps` alone keeps the preset's proportion of skipped steps. Raise `InputError` for a preset of another kind, or
    for numbers that cannot work.
    """
    chosen = preset or (models.text_preset if kind == "text" else models.image_preset)
    chosen = preset_named(chosen) if isinstance(chosen, str) else chosen
    if chosen.kind != kind:
        given = "a text" if kind == "text" else "a style image"
        raise InputError(f"the preset {chosen.name} is guided by {chosen.kind}, but {given} was given")
    settings = chosen.sampler
    if skip is None:
        skip = settings.skip if steps is None else settings.skip * steps // settings.steps
    changed = replace(
        settings,
        steps=settings.steps if steps is None else steps,
        skip=skip,
        resample=settings.resample if resample is None else resample,
    )
    return replace(chosen, sampler=changed)
