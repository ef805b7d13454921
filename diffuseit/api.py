"""The short way: load a set of networks, translate a picture."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .errors import InputError, ModelError
from .guidance.loop import Step, check_source, sample
from .guidance.mask import blend, check_mask
from .guidance.ranking import Variations, check_variations, ranked, score
from .images.color import match_colors_batch
from .models.base import Backbone
from .models.clip import CLIPEnsemble
from .models.vit import ViT
from .presets import IMAGE_DEFAULT, TEXT_DEFAULT, Preset, Prompts, settle


@dataclass(frozen=True)
class Models:
    """The networks of a translation, and the presets that suit them."""

    ddpm: Backbone
    vit: ViT
    clip: CLIPEnsemble
    text_preset: str = "official-text"
    image_preset: str = "official-image"


def load_models(
    name: str = "pocket",
    folder: str | os.PathLike[str] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Models:
    """A set of networks by name: "pocket", which ships with the package, or a bundle of the catalogue.

    Bundles ("paper", ...) are read from the models folder (`folder`, else $DIFFUSEIT_MODELS, else the user's cache)
    and never downloaded. Weights are cast to `dtype`. Raises `ModelError` for another name, and for missing files,
    with the way to get them.
    """
    if name == "pocket":
        from .pocket.models import pocket_clip, pocket_ddpm, pocket_vit

        networks = pocket_ddpm(dtype=dtype), pocket_vit(dtype=dtype), pocket_clip(dtype=dtype)
        return Models(*networks, TEXT_DEFAULT, IMAGE_DEFAULT)
    from .models.hub.catalog import bundles, members, require_models
    from .models.load import load_entry

    if name not in bundles():
        raise ModelError(
            f"there are no models {name!r}: use 'pocket', which ships with the package, or one of the bundles "
            f"{', '.join(bundles())}"
        )
    entries = members(name)
    paths = require_models(entries, folder, asked=name)
    loaded: dict[str, list[Any]] = {"ddpm": [], "vit": [], "clip": []}
    for entry in entries:
        loaded[entry.kind].append(load_entry(entry, paths[entry.name], dtype=dtype))
    return Models(loaded["ddpm"][0], loaded["vit"][0], CLIPEnsemble(loaded["clip"]))


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
        result = match_colors_batch(result, style)
    return blend(result, source.cpu(), None if mask is None else mask.cpu())


def vary(
    source: Tensor,
    count: int,
    *,
    to: str | None = None,
    from_: str | None = None,
    style: Tensor | None = None,
    models: Models | None = None,
    preset: str | Preset | None = None,
    seed: int = 0,
    steps: int | None = None,
    skip: int | None = None,
    resample: int | None = None,
    mask: Tensor | None = None,
    on_step: Callable[[Step], None] | None = None,
) -> Variations:
    """`count` translations of `source` [1, 3, H, W] with the seeds from `seed` on, in one batch, the best first.

    The best is where the losses that guided end lowest. All else is as with `translate`.
    """
    check_variations(count, source)
    models = models or load_models()
    chosen = settle(models, "image" if to is None else "text", preset, steps, skip, resample)
    pictures = translate(
        source.expand(count, -1, -1, -1).contiguous(),
        to=to,
        from_=from_,
        style=style,
        models=models,
        preset=chosen,
        seed=seed,
        mask=mask,
        on_step=on_step,
    )
    losses = chosen.build(models, to, from_, style)
    device = models.ddpm.device
    return ranked(pictures, score(pictures.to(device), source.to(device), losses, seed), seed)
