"""Read checkpoint files: safetensors, or pickles of plain tensors.

A file is a stranger's: none of its code is run, and none of its numbers is trusted for a size.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..errors import InputError, ModelError
from ..schema import from_json, parse, printable
from .pickles import read_pickle
from .precision import plain_defaults

Config = TypeVar("Config")
Network = TypeVar("Network", bound=nn.Module)
Signature = dict[str, tuple[int, ...]]

LABELS = {
    "adm-unet": "an ADM U-Net (guided-diffusion) checkpoint",
    "vit": "a vision transformer (DINO, timm) checkpoint",
    "clip-openai": "a CLIP checkpoint",
    "stable-diffusion": "a Stable Diffusion checkpoint",
    "diffusers-unet": "a U-Net of diffusers",
    "transformers-vit": "a vision transformer of transformers (take timm's or Facebook's file of that network)",
    "transformers-clip": "a CLIP or SigLIP of transformers (take open_clip's file of that network)",
    "face-recognizer": "a face recognizer (ArcFace)",
    "unknown": "none of the networks known here",
}
LOADERS = {"adm-unet": "the DDPM loader", "vit": "the ViT loader", "clip-openai": "the CLIP loader"}
# Starts of keys, at the top or under a prefix, that tell files people have beside the right ones.
_OTHERS = {
    "down_blocks.0.": "diffusers-unet",
    "vision_model.": "transformers-clip",
    "embeddings.patch_embeddings.": "transformers-vit",
    "body.0.res_layer.": "face-recognizer",
}
_WRAPPERS = ("teacher", "ema", "state_dict", "model_state_dict", "model")
_DEEPEST_WRAPPER = 4

_LARGEST_HEADER = 8_000_000
"""Bytes of a safetensors header, enough for 50,000 tensors."""

_DTYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
)
_DEEPEST = 4
"""Dictionaries in one another that `read_nested` looks into, each once."""

_SAFETENSORS_DTYPES = ("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL")


def read_checkpoint(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the state dict and the metadata of a .safetensors, .pt or .pth file; a pickle has no metadata.

    The tensors are plain ones on the CPU, together no larger than the file. They may lie in its mapping: copy what is
    kept. Training wrappers are taken off: {"teacher": ...}, {"state_dict": ...}, "module." and "backbone.".
    """
    source = printable(str(path))
    head, size = _head(path, source)
    if Path(path).suffix == ".safetensors" or head[8:] == b"{":
        state, metadata = _read_safetensors(_expanded(path), head, size, source)
    else:
        checkpoint = read_pickle(_expanded(path), head, size, source)
        state, metadata = unwrap(checkpoint), {}
        if not state:
            raise ModelError(
                f"{source} holds no tensors{_contents(checkpoint)}: it is no checkpoint of a network"
            )
    _require_plain(state, size, source)
    return state, metadata


def read_nested(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Return the tensors in the dictionaries of a .pt file that is no checkpoint, by their keys joined with "/".

    The same holds for them as for those of `read_checkpoint`. Raise `ModelError` if there are none.
    """
    source = printable(str(path))
    head, size = _head(path, source)
    contents = read_pickle(_expanded(path), head, size, source)
    found: dict[str, Tensor] = {}
    nodes, seen = [("", contents)], set()
    for _ in range(_DEEPEST):
        inside = []
        for prefix, node in nodes:
            if not isinstance(node, dict) or id(node) in seen:
                continue
            seen.add(id(node))
            for key, value in node.items():
                name = f"{prefix}/{key}" if prefix else str(key)
                if isinstance(value, Tensor):
                    found[name] = value
                else:
                    inside.append((name, value))
        nodes = inside
    if not found:
        raise ModelError(f"{source} holds no tensors{_contents(contents)}")
    _require_plain(found, size, source)
    return found


def _expanded(path: str | os.PathLike[str]) -> Path:
    return Path(path).expanduser()


def _head(path: str | os.PathLike[str], source: str) -> tuple[bytes, int]:
    """The first nine bytes of a file, and its size."""
    try:
        found = _expanded(path)
        if not found.is_file():
            raise ModelError(f"there is no checkpoint file at {source}: check the path, or download the file")
        with found.open("rb") as file:
            return file.read(9), found.stat().st_size
    # RuntimeError: "~nobody" names no user.
    except (OSError, RuntimeError) as error:
        raise ModelError(f"cannot read {source}: {getattr(error, 'strerror', None) or error}") from error


def _read_safetensors(
    path: Path, head: bytes, size: int, source: str
) -> tuple[dict[str, Tensor], dict[str, str]]:
    header = int.from_bytes(head[:8], "little")
    if _LARGEST_HEADER < header <= size:
        raise ModelError(f"{source} has a header of {header} bytes: at most {_LARGEST_HEADER} are read")
    try:
        with safe_open(path, "pt") as file:
            keys = file.keys()
            for key in keys:
                dtype = file.get_slice(key).get_dtype()
                if dtype not in _SAFETENSORS_DTYPES:
                    raise ModelError(_unreadable(source, key, f"in {dtype}"))
            state = unwrap({key: file.get_tensor(key) for key in keys})
            metadata = dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        reason = printable(str(error)[:200])
        raise ModelError(f"{source} is truncated or damaged, download it again ({reason})") from error
    if not state:
        raise ModelError(f"{source} holds no tensors: it is no checkpoint of a network")
    return state, metadata


def _contents(checkpoint: Any) -> str:
    """What a checkpoint without tensors holds, for a message."""
    names = (
        [name for name in dict.keys(checkpoint) if isinstance(name, str)]
        if isinstance(checkpoint, dict)
        else []
    )
    return f" where they are looked for (it holds {_first(names)})" if names else ""


def _require_plain(state: Mapping[str, Tensor], size: int, source: str) -> None:
    """Raise `ModelError` unless all tensors are dense ones on the CPU, together no larger than the file's `size`."""
    for key, value in state.items():
        if oddity := _oddity(value):
            raise ModelError(_unreadable(source, key, oddity))
    promised = sum(value.numel() * value.element_size() for value in state.values())
    if promised > size:
        raise ModelError(f"{source} promises {promised} bytes of weights, and the whole file has {size}")


def _oddity(value: Tensor) -> str | None:
    """What keeps a tensor from being read as numbers; None for plain ones."""
    if type(value) not in (Tensor, nn.Parameter):
        return f"of the type {type(value).__name__}"
    if value.is_nested:
        return "nested"
    if value.layout != torch.strided:
        return "sparse"
    if value.is_quantized:
        return "quantized"
    if value.device.type != "cpu":
        return "without values"
    return None if value.dtype in _DTYPES else f"in {str(value.dtype).removeprefix('torch.')}"


def _unreadable(source: str, key: str, oddity: str) -> str:
    return (
        f"{source} cannot be read, because its tensor {_first([key])} is {oddity}: save it as plain tensors in "
        "float32, float16 or bfloat16"
    )


def read_config(kind: type[Config], metadata: Mapping[str, str], source: str) -> Config | None:
    """Return the configuration under "config" in a file's metadata as the dataclass `kind`; None if there is none.

    Raise `ModelError` for anything that `kind` does not allow.
    """
    if "config" not in metadata:
        return None
    try:
        return from_json(kind, parse(metadata["config"], "its text"), "config")
    except InputError as error:
        raise ModelError(f"{source}: the config in its metadata cannot be used: {error}") from error


def unwrap(checkpoint: Any) -> dict[str, Tensor]:
    """Return the state dict inside a training checkpoint, without the prefixes of its wrappers."""
    # No deeper than training code does it: a container may hold itself. Its methods may be hidden by attributes.
    entries: dict[Any, Any] = {}
    for _ in range(_DEEPEST_WRAPPER):
        if not isinstance(checkpoint, dict):
            return {}
        entries = dict(dict.items(checkpoint))
        inner = [entries[name] for name in _WRAPPERS if isinstance(entries.get(name), dict)]
        if not inner:
            break
        checkpoint = inner[0]
    state = {
        key: Tensor.detach(value)
        for key, value in entries.items()
        if isinstance(key, str) and isinstance(value, Tensor)
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
    """Return what a state dict is, by its keys: a key of `LABELS`."""
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
    """Raise `ModelError`, naming what `source` looks like, unless it is a `kind`."""
    found = describe(state_dict)
    if found == kind:
        return
    if found == "unknown":
        first = _first(sorted(state_dict)) or "nothing"
        raise ModelError(f"{source} is not {LABELS[kind]}: its keys ({first}) are {LABELS['unknown']}")
    loader = f", which {LOADERS[found]} reads" if found in LOADERS else ""
    raise ModelError(f"{source} looks like {LABELS[found]}{loader}; here {LABELS[kind]} is needed")


def signature(state: Mapping[str, Any]) -> Signature:
    """Return the shape of each tensor by its key."""
    return {key: tuple(value.shape) for key, value in state.items()}


def misfit(found: Signature, expected: Signature) -> str | None:
    """Return what is missing, unexpected or of another shape, with the first keys of each; None if all fits."""
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


def without_memory(build: Callable[[], Network]) -> Network:
    """Return what `build` makes, with tensors that have shapes and no values."""
    with torch.device("meta"):
        return build()


def build_from(build: Callable[[], Network], state: Mapping[str, Tensor], source: str, what: str) -> Network:
    """Return what `build` makes with copies of the weights in `state`.

    It is held against them before it takes memory: raise `ModelError` if keys, shapes or kinds of number differ.
    """
    expected = without_memory(build).state_dict()
    if faults := misfit(signature(state), signature(expected)):
        raise ModelError(f"{source} does not fit {what} it should be: {faults}")
    require_numbers(state, expected, source)
    with plain_defaults():
        network = build()
    network.load_state_dict(state)
    return network


def require_numbers(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], source: str) -> None:
    """Raise `ModelError` unless `state` holds finite numbers of the kind that each tensor of `expected` has."""
    for key, value in state.items():
        if value.is_floating_point() != expected[key].is_floating_point():
            raise ModelError(_unreadable(source, key, f"in {str(value.dtype).removeprefix('torch.')}"))
        if not torch.isfinite(value).all():
            raise ModelError(
                f"{source} is damaged, download it again: {_first([key])} holds values that are not finite"
            )


def owned(value: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a copy of `value` in `dtype` with storage of its own, contiguous and aligned.

    A tensor of a mapped file lies wherever the length of the file's header puts it, and matrix kernels round another
    way where numbers are not aligned. It also goes away, and the process with it, if somebody truncates the file.
    """
    return value.detach().to(dtype, copy=True, memory_format=torch.contiguous_format)


def _first(names: list[str], count: int = 3, longest: int = 120) -> str:
    shown = ", ".join(printable(name[:longest]) for name in names[:count])
    return shown + (", ..." if len(names) > count else "")
