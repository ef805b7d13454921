"""The networks of a translation, loaded together by name."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from ..errors import ModelError
from .base import Backbone
from .hub.catalog import Entry, bundles, members, require_models
from .load import load_entry

# These modules bring timm and open_clip, which are slow to import.
if TYPE_CHECKING:
    from .clip import CLIPEnsemble
    from .vit import ViT

    Features = tuple[ViT, CLIPEnsemble]


@dataclass(frozen=True)
class Models:
    """The networks of a translation, and the names of the presets that suit them."""

    ddpm: Backbone
    vit: "ViT"
    clip: "CLIPEnsemble"
    text_preset: str = "official-text"
    image_preset: str = "official-image"


class PresetNames(NamedTuple):
    """The presets that suit some networks."""

    text_preset: str
    image_preset: str


LATENT_PRESETS = PresetNames("latent-text", "latent-image")
"""Those of latent diffusion models, with any feature networks."""


def load_bundle(
    name: str, folder: str | os.PathLike[str] | None = None, dtype: torch.dtype = torch.float32
) -> Models:
    """Return the networks of a bundle of the catalog, from the models folder, with weights cast to `dtype`.

    `folder` defaults to $DIFFUSEIT_MODELS, else the user's cache. Nothing is downloaded. Raise `ModelError` for another
    name, or if files are missing; it says how to get them.
    """
    from .clip import CLIPEnsemble

    loaded = _load(_members(name), folder, dtype, asked=name)
    return Models(loaded["ddpm"][0], loaded["vit"][0], CLIPEnsemble(loaded["clip"]))


def load_bundle_features(
    name: str, folder: str | os.PathLike[str] | None = None, dtype: torch.dtype = torch.float32
) -> "Features":
    """Return the feature networks of a bundle. Its diffusion model is not needed. Errors are those of `load_bundle`."""
    from .clip import CLIPEnsemble

    loaded = _load([entry for entry in _members(name) if entry.kind != "ddpm"], folder, dtype)
    return loaded["vit"][0], CLIPEnsemble(loaded["clip"])


def _members(name: str) -> list[Entry]:
    if name not in bundles():
        raise ModelError(
            f"there are no models {name!r}: use 'pocket', which ships with the package, one of the bundles "
            f"{', '.join(bundles())}, the folder of a diffusers checkpoint, or a JSON file of your own networks"
        )
    return members(name)


def _load(
    entries: list[Entry],
    folder: str | os.PathLike[str] | None,
    dtype: torch.dtype,
    asked: str | None = None,
) -> dict[str, list[Any]]:
    """Return the networks by their kind."""
    paths = require_models(entries, folder, asked=asked)
    loaded: dict[str, list[Any]] = {"ddpm": [], "vit": [], "clip": []}
    for entry in entries:
        loaded[entry.kind].append(load_entry(entry, paths[entry.name], dtype=dtype))
    return loaded
