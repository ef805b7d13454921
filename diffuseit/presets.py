"""Every default, once. Nodes, command line and documents read them here."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

from .errors import InputError
from .guidance.loop import SamplerSettings
from .losses import (
    AnchorLoss,
    ColourStatisticsLoss,
    ImageStyleLoss,
    Loss,
    OuterLoss,
    RangeLoss,
    ScheduledLoss,
    SemanticDivergenceLoss,
    SourceAnchorLoss,
    StructureLoss,
    TextStyleLoss,
)

if TYPE_CHECKING:
    from .api import Models

Prompts = str | Sequence[str]


@dataclass(frozen=True)
class Preset:
    """A way to translate: loss settings without networks, sampler settings, and what happens to the result.

    `kind` says what guides: "text" or "image". `colour_match` gives the result the style picture's colours. A
    `ColourStatisticsLoss` takes them too, and where text guides, the source's.
    """

    name: str
    description: str
    kind: Literal["text", "image"]
    losses: tuple[Loss, ...]
    sampler: SamplerSettings
    colour_match: bool = False

    def build(
        self,
        models: "Models",
        to: Prompts | None = None,
        from_: Prompts | None = None,
        style: Tensor | None = None,
    ) -> list[Loss]:
        """The losses with their networks, prompts (one, or one per picture) or style picture(s) filled in."""
        if self.kind == "text" and to is None:
            raise InputError(f"the preset {self.name} is guided by text: say what the picture should become")
        if self.kind == "image" and style is None:
            raise InputError(f"the preset {self.name} is guided by a picture: give a style picture")
        return [_fill(loss, models, _tuple(to), _tuple(from_), style) for loss in self.losses]


def _tuple(prompts: Prompts | None) -> str | tuple[str, ...] | None:
    return prompts if prompts is None or isinstance(prompts, str) else tuple(prompts)


def _fill(
    loss: Loss,
    models: "Models",
    to: str | tuple[str, ...] | None,
    from_: str | tuple[str, ...] | None,
    style: Tensor | None,
) -> Loss:
    if isinstance(loss, TextStyleLoss):
        return replace(loss, clip=models.clip, to=to, from_=from_)
    if isinstance(loss, ImageStyleLoss):
        return replace(loss, vit=models.vit, target=style)
    if isinstance(loss, StructureLoss | SemanticDivergenceLoss):
        return replace(loss, vit=models.vit)
    if isinstance(loss, ColourStatisticsLoss):
        return loss if style is None else replace(loss, target=style)
    if isinstance(loss, OuterLoss | ScheduledLoss):
        return replace(loss, loss=_fill(loss.loss, models, to, from_, style))
    return loss


_OFFICIAL_TEXT = Preset(
    name="official-text",
    description="The paper's text guidance as its code runs it, for the full-size networks",
    kind="text",
    losses=(
        TextStyleLoss(),
        StructureLoss(regularize_content=True),
        SemanticDivergenceLoss(until=50),
        RangeLoss(),
    ),
    sampler=SamplerSettings(steps=100, skip=40, resample=10, view="noised", restart_above=0.01),
)

_OFFICIAL_IMAGE = Preset(
    name="official-image",
    description="The paper's image guidance as its code runs it, for the full-size networks",
    kind="image",
    losses=(ImageStyleLoss(), StructureLoss(), SemanticDivergenceLoss(until=100), RangeLoss()),
    sampler=SamplerSettings(steps=200, skip=80, resample=10, view="noised", restart_above=0.01),
    colour_match=True,
)

_OFFICIAL_AGG_SAMPLER = SamplerSettings(
    steps=100, skip=40, resample=1, method="agg-official", view="noised", guide_until=19 / 60
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
_POCKET_DIVERGENCE = SemanticDivergenceLoss(weight=0.01, until=16)
_POCKET_COLOURS = ColourStatisticsLoss(mean=0.3, covariance=0.3)
_POCKET_RANGE = RangeLoss(weight=0.2)
_POCKET_SAMPLER = SamplerSettings(steps=40, skip=15, resample=5, step_rule="normalized", step_size=0.5)

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
    losses=(_POCKET_IMAGE_STYLE, _POCKET_STRUCTURE, _POCKET_DIVERGENCE, _POCKET_COLOURS, _POCKET_RANGE),
    sampler=_POCKET_SAMPLER,
)

_COLOUR_SPREAD = ColourStatisticsLoss(mean=0.0, covariance=0.3)
"""Keeps the source's contrast and range of colours: text guidance alone drifts to one hue."""

_FEW_LEVELS = replace(_POCKET_SAMPLER, steps=20, skip=7, resample=16, start_colour=0.0)
"""Most of the visits go to the first level, where large forms and colours are settled, and none to the source's hue."""

_FAST_TEXT = Preset(
    name="fast-text",
    description="Pocket networks: text guidance at an eighth of the paper's compute",
    kind="text",
    losses=(_POCKET_TEXT_STYLE, _POCKET_STRUCTURE, _COLOUR_SPREAD, _POCKET_RANGE),
    sampler=replace(_FEW_LEVELS, steps=10, skip=2, resample=7, guide_until=0.85, backward_until=0.0),
)

_BEST_TEXT = Preset(
    name="best-text",
    description="Pocket networks: the text guidance with the best figures, at less than half of the paper's compute",
    kind="text",
    losses=_FAST_TEXT.losses,
    sampler=_FEW_LEVELS,
)

_STYLE_COLOURS = ColourStatisticsLoss(mean=0.6, covariance=0.6)

_FAST_IMAGE = Preset(
    name="fast-image",
    description="Pocket networks: image guidance at an eighth of the paper's compute",
    kind="image",
    losses=(
        _POCKET_IMAGE_STYLE,
        replace(_POCKET_STRUCTURE, contrastive=0.12),
        _STYLE_COLOURS,
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
    )
}


def preset_named(name: str) -> Preset:
    """A preset by name. Raises `InputError` naming the ones there are."""
    if name not in PRESETS:
        raise InputError(f"there is no preset {name!r}: use one of {', '.join(PRESETS)}")
    return PRESETS[name]


TEXT_DEFAULT, IMAGE_DEFAULT = "best-text", "best-image"
"""The presets of what needs no download, whose values widgets start with."""

_BESIDE: tuple[Loss, ...] = (
    SourceAnchorLoss(weight=0.3),
    replace(_POCKET_DIVERGENCE, until=8),  # as far as in the pocket presets, of half as many steps
    _STYLE_COLOURS,
)
"""Losses that the default presets lack, or text guidance has for an end of its own, with weights that suit theirs."""


def bare(loss: Loss) -> Loss:
    """The loss without its schedules and masks."""
    return bare(loss.loss) if isinstance(loss, OuterLoss | ScheduledLoss) else loss


def default_loss(kind: type[Any]) -> Any:
    """The settings that suit a loss of this kind beside, or in, the default presets."""
    for loss in map(bare, (*_BESIDE, *PRESETS[TEXT_DEFAULT].losses, *PRESETS[IMAGE_DEFAULT].losses)):
        if isinstance(loss, kind):
            return loss
    raise LookupError(f"no default preset has a {kind.__name__}")


def settle(
    models: "Models",
    kind: Literal["text", "image"],
    preset: str | Preset | None = None,
    steps: int | None = None,
    skip: int | None = None,
    resample: int | None = None,
) -> Preset:
    """The preset that `translate` uses for these arguments, with the numbers in force; settled again it is itself.

    Raises `InputError` for a preset of another kind or numbers that cannot work.
    """
    chosen = preset or (models.text_preset if kind == "text" else models.image_preset)
    chosen = preset_named(chosen) if isinstance(chosen, str) else chosen
    if chosen.kind != kind:
        given = "a text" if kind == "text" else "a style picture"
        raise InputError(f"the preset {chosen.name} is guided by {chosen.kind}, but {given} was given")
    return rescaled(chosen, _override(chosen.sampler, steps, skip, resample))


def _override(
    settings: SamplerSettings, steps: int | None, skip: int | None, resample: int | None
) -> SamplerSettings:
    total = settings.steps if steps is None else steps
    if skip is None:
        skip = settings.skip if steps is None else settings.skip * steps // settings.steps
    return replace(
        settings, steps=total, skip=skip, resample=settings.resample if resample is None else resample
    )


def rescaled(preset: Preset, settings: SamplerSettings) -> Preset:
    """The preset at another number of steps: the divergence ends at the same point of the process."""
    ratio = settings.steps / preset.sampler.steps
    losses = tuple(_at_other_steps(loss, ratio) for loss in preset.losses)
    return replace(preset, losses=losses, sampler=settings)


def _at_other_steps(loss: Loss, ratio: float) -> Loss:
    if isinstance(loss, OuterLoss | ScheduledLoss):
        return replace(loss, loss=_at_other_steps(loss.loss, ratio))
    if isinstance(loss, SemanticDivergenceLoss):
        return replace(loss, until=round(loss.until * ratio))
    return loss
