"""The networks of a translation, loaded together by name."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ..errors import ModelError
from .base import Backbone
from .hub.catalog import bundles, members, require_models
from .load import load_entry

# These modules bring timm and open_clip, which are slow to import.
if TYPE_CHECKING:
    from .clip import CLIPEnsemble
    from .vit import ViT


@dataclass(frozen=True)
class Models:
    """The networks of a translation, and the names of the presets that suit them."""

    ddpm: Backbone
    vit: "ViT"
    clip: "CLIPEnsemble"
    text_preset: str = "official-text"
    image_preset: str = "official-image"


LATENT_PRESETS = ("latent-text", "latent-image")
"""The presets that suit a latent diffusion model with any feature networks."""


def load_bundle(
    name: str,
    folder: str | os.PathLike[str] | None = None,
    dtype: torch.dtype = torch.float32,
    backbone: Backbone | None = None,
) -> Models:
    """Return the networks of a bundle of the catalog, from the models folder, with weights cast to `dtype`.

    `folder` defaults to $DIFFUSEIT_MODELS, else the user's cache. `backbone`, a latent one, takes the place of the
    bundle's diffusion model, whose file is not needed then. Nothing is downloaded. Raise `ModelError` for another name,
    or if files are missing; it says how to get them.
    """
    from .clip import CLIPEnsemble

    if name not in bundles():
        raise ModelError(
            f"there are no models {name!r}: use 'pocket', which ships with the package, one of the bundles "
            f"{', '.join(bundles())}, or the folder of a diffusers checkpoint"
        )
    entries = [entry for entry in members(name) if backbone is None or entry.kind != "ddpm"]
    paths = require_models(entries, folder, asked=None if backbone else name)
    loaded: dict[str, list[Any]] = {"ddpm": [], "vit": [], "clip": []}
    for entry in entries:
        loaded[entry.kind].append(load_entry(entry, paths[entry.name], dtype=dtype))
    vit, clip = loaded["vit"][0], CLIPEnsemble(loaded["clip"])
    if backbone is not None:
        return Models(backbone, vit, clip, *LATENT_PRESETS)
    return Models(loaded["ddpm"][0], vit, clip)
