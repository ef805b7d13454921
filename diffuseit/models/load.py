"""Load checkpoints of the catalog as networks: each kind with its loader and its configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from ..errors import InputError
from ..schema import from_json
from .hub.catalog import Entry, entry_named, require_models

if TYPE_CHECKING:
    from .clip import CLIP
    from .ddpm import PixelDDPM
    from .vit import ViT

Network = Union["PixelDDPM", "ViT", "CLIP"]

LAYOUTS = {"ddpm": "adm-unet", "vit": "vit", "clip": "clip-openai"}
"""The kinds of the catalog that can guide, as `checkpoint.describe` names them."""


def load_model(name: str, folder: str | os.PathLike[str] | None = None, **options: Any) -> Network:
    """Return the network of a checkpoint of the catalog, from the models folder; nothing is downloaded.

    `options` go to its loader: `load_ddpm`, `load_vit` or `load_clip`. Raise `InputError` for an unknown name,
    `ModelError` that says how to get the file where it is missing.
    """
    entry = entry_named(name)
    return load_entry(entry, require_models([entry], folder)[name], **options)


def load_entry(entry: Entry, path: Path, **options: Any) -> Network:
    """Return the network of `entry` from the file at `path`, which may be a converted one."""
    if entry.kind == "measure":
        raise InputError(f"{entry.name} only measures results: `diffuseit evaluate` reads its file")
    if entry.kind == "watermark":
        raise InputError(f"{entry.name} is for watermarks: `diffuseit translate --watermark` reads its file")
    if entry.kind == "flow":
        raise InputError(
            f"{entry.name} estimates optical flow: `diffuseit translate FILM --flow raft` reads its file"
        )
    if entry.kind == "ddpm":
        from .ddpm_checkpoint import load_ddpm

        return load_ddpm(path, str(entry.config), **options)
    where = f"the catalog's config of {entry.name}"
    if entry.kind == "vit":
        from .vit import ViTConfig, load_vit

        return load_vit(path, config=from_json(ViTConfig, entry.config, where), **options)
    from .clip import load_clip
    from .clip_config import clip_config

    if not isinstance(entry.config, Mapping):
        raise InputError(f"{where} is no object")
    config = clip_config(**entry.config, name=entry.name)
    return load_clip(path, config=config, name=entry.name, **options)
