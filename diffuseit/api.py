"""The short way: load a set of networks, translate a picture."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from .backbones.base import Backbone
from .colour import match_colours_batch
from .errors import InputError, ModelError
from .features.clip import CLIPEnsemble
from .features.vit import ViT
from .mask import blend, check_mask
from .presets import IMAGE_DEFAULT, TEXT_DEFAULT, Preset, Prompts, preset_named
from .sampler import SamplerSettings, Step, check_source, sample


@dataclass(frozen=True)
class Models:
    """The networks of a translation, and the presets that suit them."""

    ddpm: Backbone
    vit: ViT
    clip: CLIPEnsemble
    text_preset: str = "official-text"
    image_preset: str = "official-image"


def load_models(name: str = "pocket") -> Models:
    """A set of networks by name; "pocket" ships with the package. Raises `ModelError` for another name."""
    if name != "pocket":
        raise ModelError(f"there are no models {name!r}: 'pocket' ships with the package")
    from .pocket.models import pocket_clip, pocket_ddpm, pocket_vit

    return Models(pocket_ddpm(), pocket_vit(), pocket_clip(), TEXT_DEFAULT, IMAGE_DEFAULT)


def translate(
    source: Tensor,
    *,
    to: Prompts | None = None,
    from_: Prompts | None = None,
    style: Tensor | None = None,
    models: Models | None = None,
    preset: str | Preset | None = None,
    seed: int = 0,
    steps: int | None = None,
    skip: int | None = None,
    resample: int | None = None,
    mask: Tensor | None = None,
    on_step: Callable[[Step], None] | None = None,
) -> Tensor:
    """Translates `source` to what `to` says or `style` shows: [B, 3, H, W] in [-1, 1], as the source.

    Exactly one of `to` and `style` ([1 or B, 3, H, W], of the source's size) is given; `from_` says what the source
    shows. `models` default to the pocket ones, `preset` to the models' own. `steps`, `skip` and `resample` replace
    the preset's; `steps` alone keeps the preset's proportion of skipped ones. Picture i uses `seed + i`. Where `mask`
    ([1 or B, 1, H, W] in [0, 1]) is 0, the source survives exactly.
    Raises `InputError` before heavy work, `DivergedError` while sampling.
    """
    if (to is None) == (style is None):
        raise InputError("say what to translate to: either a text or a style picture")
    models = models or load_models()
    chosen = settle(models, "image" if to is None else "text", preset, steps, skip, resample)
    check_source(source, models.ddpm)
    if mask is not None:
        check_mask(mask, source)
    losses = chosen.build(models, to, from_, style)
    results: list[Tensor] = [source[i : i + 1] for i in range(len(source))]
    for step in sample(models.ddpm, source, losses, chosen.sampler, seed, mask=mask):
        for i, picture in zip(step.items, step.pred_xstart, strict=True):
            results[i] = picture[None]
        if on_step is not None:
            on_step(step)
    result = torch.cat(results).clamp(-1, 1).cpu()
    if chosen.colour_match and style is not None:
        result = match_colours_batch(result, style)
    return blend(result, source.cpu(), None if mask is None else mask.cpu())


def settle(
    models: Models,
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
    return _rescaled(chosen, _override(chosen.sampler, steps, skip, resample))


def _override(
    settings: SamplerSettings, steps: int | None, skip: int | None, resample: int | None
) -> SamplerSettings:
    total = settings.steps if steps is None else steps
    if skip is None:
        skip = settings.skip if steps is None else settings.skip * steps // settings.steps
    return replace(
        settings, steps=total, skip=skip, resample=settings.resample if resample is None else resample
    )


def _rescaled(preset: Preset, settings: SamplerSettings) -> Preset:
    """The preset at another number of steps: the divergence ends at the same point of the process."""
    from .losses import SemanticDivergenceLoss

    ratio = settings.steps / preset.sampler.steps
    losses = tuple(
        replace(loss, until=round(loss.until * ratio)) if isinstance(loss, SemanticDivergenceLoss) else loss
        for loss in preset.losses
    )
    return replace(preset, losses=losses, sampler=settings)
