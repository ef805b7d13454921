"""Checkpoints of the catalogue as networks: which loader reads which kind, and with which configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from ..errors import InputError
from .hub.catalog import Entry, entry_named, require_models

if TYPE_CHECKING:
    from .clip import CLIP
    from .ddpm import PixelDDPM
    from .vit import ViT

Network = Union["PixelDDPM", "ViT", "CLIP"]

LAYOUTS = {"ddpm": "adm-unet", "vit": "vit", "clip": "clip-openai"}
"""The kinds of the catalog as `checkpoint.describe` names them."""


def load_model(name: str, folder: str | os.PathLike[str] | None = None, **options: Any) -> Network:
    """The network of a checkpoint of the catalogue, from the models folder; nothing is downloaded.

    `options` go to its loader: `load_ddpm`, `load_vit` or `load_clip`. Raises `InputError` for an unknown name,
    `ModelError` that says how to get the file where it is missing.
    """
    entry = entry_named(name)
    return load_entry(entry, require_models([entry], folder)[name], **options)


def load_entry(entry: Entry, path: Path, **options: Any) -> Network:
    """The network of `entry` from the file at `path`, which may be a converted one."""
    if entry.kind == "ddpm":
        from .ddpm_checkpoint import load_ddpm

        return load_ddpm(path, str(entry.config), **options)
    if entry.kind == "vit":
        from .vit import ViTConfig, load_vit

        return load_vit(path, config=ViTConfig.from_json(_fields(entry)), **options)
    from .clip import clip_config, load_clip

    config = clip_config(**_fields(entry), name=entry.name)
    return load_clip(path, config=config, name=entry.name, **options)


def _fields(entry: Entry) -> Mapping[str, Any]:
    if not isinstance(entry.config, Mapping):
        raise InputError(f"the catalogue's config of {entry.name} is no object")
    return entry.config
