"""Write a checkpoint as half-precision safetensors with its configuration: half the size, no pickle, no guessing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, ModelError
from ..images.atomic import atomic_path
from ..schema import printable, to_json
from .hub.catalog import catalog, converted_name, entry_named, models_folder, require_models

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from .load import Network


def convert(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    precision: str = "fp16",
    folder: str | os.PathLike[str] | None = None,
    *,
    architecture: str | None = None,
    tag: str | None = None,
) -> Path:
    """Write a checkpoint of the catalog, or a file, as safetensors, and return the path of what was written.

    The result goes beside the source, or into the models folder under a name that `load_model` finds, unless `output`
    says otherwise. `architecture` and `tag` (open_clip's) tell what a CLIP file in open_clip's layout is. Matrices
    and convolutions are rounded to `precision` ("fp16" or "bf16"); vectors of a ViT or a CLIP (norms, biases) stay in
    float32: they are small and the most sensitive. Raise `InputError` and `ModelError` before anything is written.
    """
    dtype = _dtype(precision)
    network, path = _load(source, folder, architecture, tag)
    named = _is_name(source)
    default = converted_name(str(source) if named else path.stem, precision)
    target = (
        Path(output).expanduser() if output else (models_folder(folder) if named else path.parent) / default
    )
    if target.suffix != ".safetensors":
        raise InputError(f"{target} is written as safetensors: give it a name that ends in .safetensors")
    if target.exists() and target.samefile(path):
        raise InputError(f"{target} is the source itself: give another name with -o")
    _write(network, target, dtype)
    return target


def _dtype(precision: str) -> torch.dtype:
    import torch

    known = {"fp16": torch.float16, "bf16": torch.bfloat16}
    if precision not in known:
        raise InputError(f"there is no precision {precision!r}: use {' or '.join(known)}")
    return known[precision]


def _is_name(source: str | os.PathLike[str]) -> bool:
    return isinstance(source, str) and source in catalog() and not Path(source).is_file()


def _load(
    source: str | os.PathLike[str],
    folder: str | os.PathLike[str] | None,
    architecture: str | None,
    tag: str | None,
) -> tuple[Network, Path]:
    """The network, checked against its configuration, and where its file lies."""
    from .checkpoint import LABELS, describe, read_checkpoint
    from .load import load_entry

    if _is_name(source):
        entry = entry_named(str(source))
        path = require_models([entry], folder)[entry.name]
        return load_entry(entry, path), path
    path = Path(source).expanduser()
    if not path.is_file() and not path.suffix:
        raise InputError(f"{source} is neither a file nor a name of the catalog: see `diffuseit models list`")
    kind = describe(read_checkpoint(path)[0])
    if kind == "adm-unet":
        from .ddpm_checkpoint import load_ddpm

        return load_ddpm(path), path
    if kind == "vit":
        from .vit import load_vit

        return load_vit(path), path
    if kind == "clip-openai":
        from .clip import load_clip
        from .clip_config import clip_config

        return load_clip(path, config=clip_config(architecture, tag) if architecture else None), path
    raise ModelError(f"{printable(str(path))} looks like {LABELS[kind]}, which cannot be converted")


def _write(network: Network, target: Path, dtype: torch.dtype) -> None:
    from .ddpm import PixelDDPM
    from .ddpm_checkpoint import save_ddpm

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write in {target.parent}: {error.strerror}") from error
    if isinstance(network, PixelDDPM):
        save_ddpm(network, target, dtype)
    else:
        save_features(network.model, network.config, target, dtype)


def save_features(model: nn.Module, config: Any, target: Path, dtype: torch.dtype) -> None:
    """Write weights of a ViT or a CLIP and their configuration as one safetensors file; whole or not at all.

    `config` is the `ViTConfig` or `CLIPConfig` of `model`.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    state = {key: _rounded(key, value, dtype) for key, value in model.state_dict().items()}
    metadata = {"format": "pt", "config": json.dumps(to_json(config))}
    try:
        with atomic_path(target) as temporary:
            save_file(state, temporary, metadata)
    except (OSError, SafetensorError) as error:
        raise InputError(f"cannot write {target}: {getattr(error, 'strerror', None) or error}") from error


def _rounded(key: str, value: Tensor, dtype: torch.dtype) -> Tensor:
    import torch

    # A copy each: safetensors refuses tensors that share memory.
    value = value.detach().to(
        "cpu", dtype if value.is_floating_point() and value.ndim > 1 else value.dtype, copy=True
    )
    if value.is_floating_point() and not torch.isfinite(value).all():
        raise InputError(f"{key} has values that are not finite in {dtype}: use bf16, or look why")
    return value.contiguous()
