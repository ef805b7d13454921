"""The networks of `diffuseit translate`: a set by name, own ones, or a diffusers checkpoint with a set's features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

import diffuseit

from ..api import load_features
from ..errors import InputError
from ..images.recipe import CheckpointRef, Recipe, current_versions, sha256_of_network, weights_of
from ..models.bundle import LATENT_PRESETS, Models
from ..models.ddpm import PixelDDPM
from ..models.hub.catalog import bundles
from ..own_models import config_digest, load_own, own_file, own_name
from ..presets import Kind, Preset, settle
from ..schema import shown
from .options import is_folder, path

if TYPE_CHECKING:
    from ..models.base import Backbone
    from ..models.bundle import Features
    from ..models.diffusers.checkpoint import Checkpoint

FEATURES = "paper"
"""The set whose feature networks the losses use with a diffusers checkpoint."""


@dataclass(frozen=True)
class Choice:
    """What the command line says of the networks."""

    models: str = "pocket"
    features: str | None = None
    cfg: float | None = None
    resolution: int | None = None
    device: str = "cpu"

    @property
    def names_a_set(self) -> bool:
        return self.models == "pocket" or self.models in bundles()

    @property
    def folder(self) -> Path | None:
        """Return the folder of a diffusers checkpoint; None for the name of a set, even where a folder has it too."""
        if self.names_a_set:
            return None
        found = path(self.models)
        return found if is_folder(found) and self.own is None else None

    @property
    def own(self) -> Path | None:
        """Return the JSON file of own networks, named or in the folder that is named; None if it is neither."""
        return None if self.names_a_set else own_file(path(self.models))


@dataclass(frozen=True)
class Networks:
    """The networks of a run, and what the recipe says of them."""

    name: str
    models: Models
    weights: dict[str, str]
    versions: dict[str, str]
    checkpoint: CheckpointRef | None = None
    own: str | None = None
    prompted: Callable[[str], Backbone] | None = None

    def toward(self, to: str) -> Models:
        """Return the networks for another text: a checkpoint's own model follows it too."""
        return self.models if self.prompted is None else replace(self.models, ddpm=self.prompted(to))


def choose(
    choice: Choice,
    to: str | None,
    from_: str | None,
    preset: Preset | None,
    steps: int | None,
    skip: int | None,
    resample: int | None,
) -> tuple[Networks, Preset]:
    """Return the networks, and the preset with its final numbers. `to` is None for guidance by an image.

    Raise `InputError` for options that the networks do not have, and for texts that the losses do not take.
    """
    kind: Kind = "image" if to is None else "text"
    folder, device = choice.folder, as_device(choice.device)
    if folder is None:
        given = [name for name in ("features", "cfg", "resolution") if getattr(choice, name) is not None]
        own = choice.own
        if given and (choice.names_a_set or own):
            raise InputError(f"--{given[0]} is for a diffusers checkpoint: give its folder with --models")
        networks = load_named(choice.models, device) if own is None else _load_own(own, device)
        settled = settle(networks.models, kind, preset, steps, skip, resample)
        check_texts(settled, to, from_)
        return networks, settled
    settled = settle(LATENT_PRESETS, kind, preset, steps, skip, resample)
    check_texts(settled, to, from_)
    name = choice.features or FEATURES
    features = load_features(name)
    checkpoint = _load(folder, device)
    cfg = checkpoint.default_cfg(to or "") if choice.cfg is None else choice.cfg
    resolution = checkpoint.resolution if choice.resolution is None else choice.resolution
    return _with_prompt(checkpoint, name, features, to, settled, cfg, resolution), settled


def again(recipe: Recipe, made: Path, models: str | None, device: str) -> Networks:
    """Return the networks of a recipe of the result `made`. `models` says where its checkpoint is, if it has one."""
    used = recipe.checkpoint
    if recipe.own is not None:
        own = None if models is None else Choice(models).own
        if own is None:
            raise InputError(
                f"{made} was made with own networks, {shown(recipe.models)}: say with --models where that file is"
            )
        return _load_own(own, as_device(device))
    if used is None:
        if models is not None:
            raise InputError(f"{made} was made with the models {shown(recipe.models)}: leave out --models")
        return load_named(recipe.models, as_device(device))
    folder = None if models is None else Choice(models).folder
    if folder is None:
        raise InputError(
            f"{made} was made with the diffusers checkpoint {shown(used.name)}: say with --models in which folder it is"
        )
    features = load_features(recipe.models)
    checkpoint = _load(folder, as_device(device))
    return _with_prompt(
        checkpoint, recipe.models, features, recipe.to, recipe.preset, used.cfg, used.resolution
    )


def load_named(name: str, device: torch.device) -> Networks:
    """Return a set of networks by its name."""
    models = diffuseit.load_models(name)
    _move((models.ddpm, models.vit, models.clip), device)
    return Networks(name, models, weights_of(models), current_versions(models.ddpm.device))


def _load_own(file: Path, device: torch.device) -> Networks:
    models = load_own(file)
    _move((models.ddpm, models.vit, models.clip), device)
    assert isinstance(models.ddpm, PixelDDPM)
    return Networks(
        own_name(file),
        models,
        weights_of(models),
        current_versions(device),
        own=config_digest(models.ddpm),
    )


def as_device(name: str) -> torch.device:
    """Return a device of PyTorch. Raise `InputError` unless it is here."""
    try:
        device = torch.device(name)
        torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0][:200]
        raise InputError(f"--device is {shown(name)}, which PyTorch cannot use here: {reason}") from None
    return device


def check_texts(preset: Preset, to: str | None, from_: str | None) -> None:
    """Raise `InputError` here, since what is wrong with a text is wrong for every image of a folder."""
    for loss in preset.losses:
        loss.with_prompts(to, from_)


def _load(folder: Path, device: torch.device) -> Checkpoint:
    from ..models.diffusers.checkpoint import load_checkpoint

    return load_checkpoint(folder, device)


def _with_prompt(
    checkpoint: Checkpoint,
    name: str,
    features: Features,
    to: str | None,
    preset: Preset,
    cfg: float,
    resolution: int,
) -> Networks:
    """Return the checkpoint, told of `to`, with the feature networks of the set `name`."""
    prompted = partial(checkpoint.backbone, steps=preset.sampler.steps, cfg=cfg, resolution=resolution)
    vit, clip = features
    _move((vit, clip), checkpoint.device)
    models = Models(prompted(to or ""), vit, clip, *LATENT_PRESETS)
    weights = {part: sha256_of_network(network) for part, network in checkpoint.networks.items()}
    versions = {library: version(library) for library in ("diffusers", "transformers")}
    return Networks(
        name,
        models,
        weights_of(models) | weights,
        current_versions(checkpoint.device) | versions,
        CheckpointRef(checkpoint.name, checkpoint.config, cfg, resolution),
        prompted=prompted,
    )


def _move(networks: tuple[object, ...], device: torch.device) -> None:
    for network in networks:
        if isinstance(network, nn.Module):
            network.to(device)
