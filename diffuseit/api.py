"""The short interface: load a set of networks, translate an image."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .errors import InputError
from .guidance.loop import Agree, Step, check_source, sample
from .guidance.mask import as_mask, blend, check_mask
from .guidance.ranking import Variations, check_variations, ranked, score
from .guidance.rng import Rng
from .guidance.settings import SamplerSettings
from .images.color import match_colors_batch
from .losses import BoundLoss
from .models.base import Backbone
from .models.bundle import Models, load_bundle, load_bundle_features
from .performance.options import FULL_SPEED, Execution
from .presets import Preset, Prompts, settle

if TYPE_CHECKING:
    from .models.bundle import Features


@dataclass(frozen=True)
class Result:
    """`pictures` [B, 3, H, W] in [-1, 1] on the CPU.

    `losses` are the weighted losses of each guided step by name, averaged over the batch, and their sum under "loss".
    `trajectory`, if asked for: for each image its predictions [steps, 3, H, W].
    """

    pictures: Tensor
    losses: dict[str, list[float]] = field(default_factory=dict)
    trajectory: tuple[Tensor, ...] = ()


def load_models(
    name: str = "pocket",
    folder: str | os.PathLike[str] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Models:
    """Return a set of networks by name: "pocket", which ships with the package, or a bundle of the catalog.

    Bundles ("paper", ...) are read from the models folder (`folder`, else $DIFFUSEIT_MODELS, else the user's cache)
    and never downloaded. Weights are cast to `dtype`. Raise `ModelError` for another name, or if files are
    missing; it says how to get them.
    """
    if name == "pocket":
        # Only the pocket world needs its renderer's packages.
        from .pocket.models import pocket_models

        return pocket_models(dtype=dtype)
    return load_bundle(name, folder, dtype)


def load_features(
    name: str = "pocket",
    folder: str | os.PathLike[str] | None = None,
    dtype: torch.dtype = torch.float32,
) -> "Features":
    """Return the ViT and the CLIP ensemble of a set of networks, for another diffusion model than the set's own.

    Arguments and errors are those of `load_models`.
    """
    if name == "pocket":
        from .pocket.models import pocket_features

        return pocket_features(dtype=dtype)
    return load_bundle_features(name, folder, dtype)


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
) -> Result:
    """Translate `source` to what `to` says or `style` shows: [B, 3, H, W] in [-1, 1], like the source.

    Give exactly one of `to` and `style` ([1 or B, 3, H, W], of the source's size); `from_` says what the source shows.
    `models` default to the pocket ones, `preset` to the models' own. `steps`, `skip` and `resample` replace the
    preset's; `steps` alone keeps the preset's proportion of skipped ones. Image i uses `seed + i`. Where `mask`
    ([H, W] or [1 or B, 1, H, W] in [0, 1]) is 0, the source survives exactly.
    Raise `InputError` before heavy work, `DivergedError` while sampling.
    """
    if (to is None) == (style is None):
        raise InputError("say what to translate to: either a text or a style image")
    models = models or load_models()
    chosen = settle(models, "image" if to is None else "text", preset, steps, skip, resample)
    return translate_with(
        models.ddpm,
        source,
        chosen.build(models, to, from_, style),
        chosen.sampler,
        seed,
        mask=mask,
        colors=style if chosen.color_match else None,
        on_step=on_step,
    )


def translate_with(
    backbone: Backbone,
    source: Tensor,
    losses: Sequence[BoundLoss],
    settings: SamplerSettings,
    seed: int = 0,
    *,
    mask: Tensor | None = None,
    colors: Tensor | None = None,
    options: Execution = FULL_SPEED,
    on_step: Callable[[Step], None] | None = None,
    measure_every: int = 0,
    keep_trajectory: bool = False,
    allow_unguided: bool = False,
    rng: Rng | None = None,
    agree: Agree | None = None,
) -> Result:
    """Translate `source` [B, 3, H, W] by bound losses on a backbone.

    The result takes the colors of `colors` [1 or B, 3, H, W], if given. The other arguments are those of `sample`.
    """
    check_source(source, backbone)
    if mask is not None:
        mask = as_mask(mask, "the mask")
        check_mask(mask, source)
    frames: list[list[Tensor]] = [[] for _ in source]
    history: dict[str, list[float]] = {"loss": []}
    steps = sample(
        backbone,
        source,
        losses,
        settings,
        seed,
        mask=mask,
        options=options,
        measure_every=measure_every,
        allow_unguided=allow_unguided,
        rng=rng,
        agree=agree,
    )
    for step in steps:
        for item, picture in zip(step.items, step.pred_xstart.cpu(), strict=True):
            if not keep_trajectory:
                frames[item].clear()
            frames[item].append(picture)
        note_losses(history, step)
        if on_step is not None:
            on_step(step)
    pictures = torch.stack([own[-1] for own in frames]).clamp(-1, 1)
    if colors is not None:
        pictures = match_colors_batch(pictures, colors.cpu())
    pictures = blend(pictures, source.cpu(), None if mask is None else mask.cpu())
    trajectory = tuple(torch.stack(own) for own in frames) if keep_trajectory else ()
    return Result(pictures, history, trajectory)


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
    """Return `count` translations of `source` [1, 3, H, W] with the seeds from `seed` on, in one batch, the best first.

    The best has the lowest losses. Everything else is as with `translate`.
    """
    check_variations(count, source)
    models = models or load_models()
    chosen = settle(models, "image" if to is None else "text", preset, steps, skip, resample)
    result = translate(
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
    losses, device = chosen.build(models, to, from_, style), models.ddpm.device
    steps = chosen.sampler.steps
    scores = score(result.pictures.to(device), source.to(device), losses, models.ddpm, seed, steps=steps)
    return ranked(result.pictures, scores, seed)


def note_losses(history: dict[str, list[float]], step: Step) -> None:
    """Append the values of one guided step: every term that acted, and their sum under "loss"."""
    if not step.terms:
        return
    values = {name: value.mean().item() for name, value in step.terms.items()}
    history["loss"].append(sum(values.values()))
    for name, value in values.items():
        history.setdefault(name, []).append(value)
