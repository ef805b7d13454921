"""Read checkpoint files: safetensors, or pickles of plain tensors. No code from a file is ever run."""

from __future__ import annotations

import argparse
import json
import os
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import ModelError

Config = TypeVar("Config")
Signature = dict[str, tuple[int, ...]]

LABELS = {
    "adm-unet": "an ADM U-Net (guided-diffusion) checkpoint",
    "vit": "a vision transformer (DINO, timm) checkpoint",
    "clip-openai": "a CLIP checkpoint",
    "stable-diffusion": "a Stable Diffusion checkpoint",
    "diffusers-unet": "a U-Net of diffusers",
    "transformers-vit": "a vision transformer of transformers (take timm's or Facebook's file of that network)",
    "transformers-clip": "a CLIP or SigLIP of transformers (take open_clip's file of that network)",
    "face-recogniser": "a face recogniser (ArcFace)",
    "unknown": "none of the networks known here",
}
LOADERS = {"adm-unet": "the DDPM loader", "vit": "the ViT loader", "clip-openai": "the CLIP loader"}
# Starts of keys, at the top or under a prefix, that tell files people have beside the right ones.
_OTHERS = {
    "down_blocks.0.": "diffusers-unet",
    "vision_model.": "transformers-clip",
    "embeddings.patch_embeddings.": "transformers-vit",
    "body.0.res_layer.": "face-recogniser",
}
_WRAPPERS = ("teacher", "ema", "state_dict", "model_state_dict", "model")


def read_checkpoint(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(state dict on the CPU, metadata) of a .safetensors, .pt or .pth file; metadata is {} for pickles.

    Training wrappers are taken off: {"teacher": ...}, {"state_dict": ...}, "module." and "backbone.".
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise ModelError(f"there is no checkpoint file at {path}: check the path, or download the file")
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from error
    if path.suffix == ".safetensors" or head[8:] == b"{":
        state, metadata = _read_safetensors(path)
    else:
        state, metadata = unwrap(_read_pickle(path, head)), {}
    if not state:
        raise ModelError(f"{path} holds no tensors: it is no checkpoint of a network")
    return state, metadata


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, "pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no __iter__)
            return unwrap(state), dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path} is truncated or damaged, download it again ({error})") from error


def _read_pickle(path: Path, head: bytes) -> Any:
    try:
        # Full training checkpoints keep their command line: a Namespace is a bag of values and runs nothing.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        if "global" in str(error).lower():
            raise ModelError(
                f"{path} holds Python code besides tensors and is not opened: convert it to safetensors, "
                "or save its state dict alone"
            ) from error
        raise ModelError(_damaged(path, head)) from error
    except Exception as error:  # torch.load raises nearly anything on damaged files
        if "torchscript" in str(error).lower():
            raise ModelError(
                f"{path} is a TorchScript archive, which is code and is not opened: for OpenAI's CLIP name "
                "the architecture and the tag 'openai' instead, or save its state dict as safetensors"
            ) from error
        raise ModelError(_damaged(path, head)) from error


def _damaged(path: Path, head: bytes) -> str:
    if not head:
        return f"{path} is empty: download it again"
    if head.isascii() and head.decode("ascii").strip().isprintable():
        start = head.decode("ascii")
        return f"{path} is a text file that starts with {start!r}, no checkpoint: download it again"
    return f"{path} is truncated or damaged, or no checkpoint at all: download it again"


def read_config(metadata: Mapping[str, str], source: str) -> dict[str, Any] | None:
    """The JSON object under "config" in a file's metadata; None where there is none."""
    if "config" not in metadata:
        return None
    try:
        values = json.loads(metadata["config"])
    except json.JSONDecodeError as error:
        raise ModelError(f"{source}: the config in its metadata is no JSON ({error})") from error
    if not isinstance(values, dict):
        raise ModelError(f"{source}: the config in its metadata is no JSON object")
    return values


def config_from_json(cls: type[Config], values: Mapping[str, Any], what: str) -> Config:
    """A config dataclass from its JSON object; ModelError names unknown or missing fields."""
    known = {field.name for field in fields(cls)}  # type: ignore[arg-type]
    if unknown := sorted(values.keys() - known):
        raise ModelError(f"unknown fields in the config of {what}: {', '.join(unknown)}")
    arguments = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    try:
        return cls(**arguments)
    except TypeError as error:
        raise ModelError(f"the config of {what} is incomplete: {error}") from error


def unwrap(checkpoint: Any) -> dict[str, Tensor]:
    """The state dict inside a training checkpoint, without the prefixes of its wrappers."""
    if not isinstance(checkpoint, Mapping):
        return {}
    for name in _WRAPPERS:
        if isinstance(checkpoint.get(name), Mapping):
            return unwrap(checkpoint[name])
    state = {
        key: value for key, value in checkpoint.items() if isinstance(key, str) and isinstance(value, Tensor)
    }
    for prefix in ("_orig_mod.", "module.", "_orig_mod."):
        if state and all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    # DINO's checkpoints keep the network under "backbone." and its training head beside it.
    backbone = {
        key.removeprefix("backbone."): value for key, value in state.items() if key.startswith("backbone.")
    }
    return backbone or state


def describe(state_dict: Mapping[str, Any]) -> str:
    """What a state dict is, by its keys: a key of `LABELS`."""
    keys = state_dict.keys()
    if "input_blocks.0.0.weight" in keys and "time_embed.0.weight" in keys:
        return "adm-unet"
    if "blocks.0.attn.qkv.weight" in keys and "patch_embed.proj.weight" in keys:
        return "vit"
    if any(key.startswith("model.diffusion_model.") for key in keys):
        return "stable-diffusion"
    if any(key.startswith("visual.") for key in keys) and ({"token_embedding.weight", "logit_scale"} & keys):
        return "clip-openai"
    for mark, kind in _OTHERS.items():
        if any(key.startswith(mark) or f".{mark}" in key for key in keys):
            return kind
    return "unknown"


def require_kind(state_dict: Mapping[str, Any], kind: str, source: str) -> None:
    """Raise ModelError, naming what `source` looks like, unless it is a `kind`."""
    found = describe(state_dict)
    if found == kind:
        return
    if found == "unknown":
        first = ", ".join(sorted(state_dict)[:3]) or "nothing"
        raise ModelError(f"{source} is not {LABELS[kind]}: its keys ({first}, ...) are {LABELS['unknown']}")
    loader = f", which {LOADERS[found]} reads" if found in LOADERS else ""
    raise ModelError(f"{source} looks like {LABELS[found]}{loader}; here {LABELS[kind]} is needed")


def signature(state: Mapping[str, Any]) -> Signature:
    """The shape of each tensor by its key."""
    return {key: tuple(value.shape) for key, value in state.items()}


def misfit(found: Signature, expected: Signature) -> str | None:
    """What is missing, unexpected or of another shape, with the first keys of each; None where all fits."""
    if found == expected:
        return None
    misshapen = [
        f"{key} is {list(shape)}, not {list(expected[key])}"
        for key, shape in found.items()
        if key in expected and shape != expected[key]
    ]
    faults = {
        "missing": [key for key in expected if key not in found],
        "unexpected": [key for key in found if key not in expected],
        "of another shape": misshapen,
    }
    return "; ".join(f"{len(keys)} {what} ({_first(keys)})" for what, keys in faults.items() if keys)


def _first(keys: list[str], count: int = 3) -> str:
    return ", ".join(keys[:count]) + (", ..." if len(keys) > count else "")
