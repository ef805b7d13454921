"""Read and write pixel-space diffusion models: guided-diffusion's .pt files and our own safetensors."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import InputError, ModelError
from ..files.atomic import atomic_path
from ..schema import printable
from .checkpoint import (
    Signature,
    misfit,
    owned,
    read_checkpoint,
    read_config,
    require_kind,
    require_numbers,
    signature,
    without_memory,
)
from .configs import CONFIGS, DDPMConfig, known_config
from .ddpm import DiffusionConfig, PixelDDPM
from .unet import UNet, UNetConfig


@dataclass(frozen=True)
class _FileConfig:
    """What `save_ddpm` writes under "config" in a file's metadata."""

    unet: UNetConfig
    diffusion: DiffusionConfig


def load_ddpm(
    state_dict_or_path: Mapping[str, Tensor] | str | os.PathLike[str],
    config: str | DDPMConfig | None = None,
    *,
    dtype: torch.dtype = torch.float32,
) -> PixelDDPM:
    """Return a frozen `PixelDDPM` on the CPU, in evaluation mode, from a state dict or a file.

    Its configuration is `config` (a name of `CONFIGS`, or the two configurations), else the JSON under "config"
    in a safetensors file's metadata (`save_ddpm`), else the published network whose keys and shapes are the same.
    Weights are copied, and cast to `dtype` whatever the file holds. Raise `ModelError` for a file that is missing,
    damaged, of another kind or of another shape than the configuration, `InputError` for a wrong `config`.
    """
    given = known_config(config) if isinstance(config, str) else config
    metadata: dict[str, str] = {}
    if isinstance(state_dict_or_path, Mapping):
        source, state = "this state dict", dict(state_dict_or_path)
    else:
        source = printable(str(state_dict_or_path))
        state, metadata = read_checkpoint(state_dict_or_path)
    # PixelDDPM.state_dict()
    if state and all(key.startswith("unet.") for key in state):
        state = {key.removeprefix("unet."): value for key, value in state.items()}
    require_kind(state, "adm-unet", source)

    unet_config, diffusion = given or _config_of(state, metadata, source)
    try:
        model = without_memory(lambda: PixelDDPM(UNet(unet_config), diffusion))
    except InputError as error:
        if given:
            raise
        raise ModelError(f"{source}: the config in its metadata makes no network: {error}") from error
    expected = model.unet.state_dict()
    _require_fit(signature(state), signature(expected), source)
    require_numbers(state, expected, source)
    model.unet.load_state_dict({key: owned(value, dtype) for key, value in state.items()}, assign=True)
    return model.eval().requires_grad_(False)


def peek_unet_config(path: str | os.PathLike[str]) -> UNetConfig | None:
    """Return the configuration that `save_ddpm` wrote into a file, without reading its weights.

    None if it is no such file. Raise `ModelError` if its configuration cannot be used.
    """
    source = printable(str(path))
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except (OSError, SafetensorError):
        return None
    found = read_config(_FileConfig, metadata, source)
    return None if found is None else found.unet


def save_ddpm(model: PixelDDPM, path: str | os.PathLike[str], dtype: torch.dtype = torch.float16) -> None:
    """Write weights and configuration as one safetensors file that `load_ddpm` reads; whole or not at all.

    Raise `InputError` if the file cannot be written, or a weight is not finite or too large for `dtype`.
    """
    path = Path(path).expanduser()
    state = {
        key: value.detach().to("cpu", dtype).contiguous() for key, value in model.unet.state_dict().items()
    }
    for key, value in state.items():
        if not torch.isfinite(value).all():
            raise InputError(
                f"{key} has values that are not finite in {dtype}: save in torch.float32, or find the cause"
            )
    try:
        with atomic_path(path) as temporary:
            save_file(state, temporary, {"format": "pt", "config": json.dumps(model.config())})
    except (OSError, SafetensorError) as error:
        raise InputError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from error


def infer_unet_config(state_dict: Mapping[str, Tensor]) -> UNetConfig:
    """Return the configuration of an ADM U-Net, as far as the shapes of its weights show it.

    The sizes of heads and groups, the order of qkv, dropout and the size of images leave no trace in shapes and
    keep their defaults (of groups, as many as divide the channels): set them with `dataclasses.replace`. Raise
    `ModelError` if no configuration gives these keys and shapes.
    """
    shapes = signature(state_dict)
    if not any(key.startswith("output_blocks.") for key in shapes):
        raise ModelError("an encoder without a decoder, as guided-diffusion's classifiers are")
    try:
        config = _read_shapes(shapes)
        if unet_signature(config) == shapes:
            return config
    except (LookupError, ValueError, ArithmeticError):
        pass
    raise ModelError("an ADM U-Net of an unknown layout")


@lru_cache(maxsize=32)
def unet_signature(config: UNetConfig) -> Signature:
    """Return keys and shapes of the state dict of `UNet(config)`."""
    return signature(without_memory(lambda: UNet(config)).state_dict())


def _read_shapes(shapes: Signature) -> UNetConfig:
    """Return the configuration, found by counting blocks. The caller checks it."""
    width = shapes["time_embed.0.weight"][1]
    outputs = _indices(shapes, "output_blocks.")
    ups = [i for i in outputs if any(f"output_blocks.{i}.{k}.conv.weight" in shapes for k in (1, 2))]
    res_ups = [
        i for i in outputs if any(f"output_blocks.{i}.{k}.in_layers.2.weight" in shapes for k in (1, 2))
    ]
    # Pooling has no weights: its place is missing among the input blocks.
    inputs = _indices(shapes, "input_blocks.")
    levels = 1 + max(len(ups), len(res_ups), inputs[-1] + 1 - len(inputs))
    per_level, rest = divmod(len(outputs), levels)
    if rest:
        raise ValueError(f"{len(outputs)} output blocks on {levels} levels")

    firsts = [1 + level * per_level for level in range(levels)]
    widths = [shapes[f"input_blocks.{i}.0.in_layers.2.weight"][0] for i in firsts]
    folds: dict[int, Literal[1, 2, 4, 8]] = {3: 1, 12: 2, 48: 4, 192: 8}
    fold = folds[shapes["input_blocks.0.0.weight"][1]]
    out_channels = shapes["out.2.weight"][0]
    return UNetConfig(
        model_channels=width,
        out_channels=out_channels // fold**2,
        num_res_blocks=per_level - 1,
        attention_resolutions=tuple(
            2**level for level, i in enumerate(firsts) if f"input_blocks.{i}.1.qkv.weight" in shapes
        ),
        channel_mult=tuple(w // width if w % width == 0 else w / width for w in widths),
        conv_resample=bool(ups or res_ups or levels == 1),
        num_classes=shapes["label_emb.weight"][0] if "label_emb.weight" in shapes else None,
        use_scale_shift_norm=shapes["input_blocks.1.0.emb_layers.1.weight"][0] == 2 * widths[0],
        norm_groups=math.gcd(UNetConfig.norm_groups, *widths),
        resblock_updown=bool(res_ups),
        space_to_depth=fold,
    )


def _indices(shapes: Signature, prefix: str) -> list[int]:
    return sorted({int(key.split(".")[1]) for key in shapes if key.startswith(prefix)})


def _config_of(state: Mapping[str, Tensor], metadata: Mapping[str, str], source: str) -> DDPMConfig:
    """From the file's metadata, else the known configuration with its keys and shapes."""
    found = read_config(_FileConfig, metadata, source)
    if found is not None:
        return found.unet, found.diffusion
    name = _known_name(signature(state))
    if name is not None:
        return CONFIGS[name]
    try:
        shape = _describe_shape(infer_unet_config(state))
    except ModelError as error:
        raise ModelError(
            f"{source} is {error}, none of the models known here ({', '.join(CONFIGS)})"
        ) from error
    raise ModelError(
        f"{source} is {shape}, none of those known here ({', '.join(CONFIGS)}); "
        "its weights do not tell head size, image size and noise schedule: give config=(UNetConfig, "
        "DiffusionConfig), from its author's flags with from_guided_diffusion"
    )


def _known_name(shapes: Signature) -> str | None:
    return next((name for name, (unet, _) in CONFIGS.items() if unet_signature(unet) == shapes), None)


def _describe_shape(config: UNetConfig) -> str:
    mult = ", ".join(f"{m:g}" for m in config.channel_mult)
    return (
        f"an ADM U-Net of {config.model_channels} channels x ({mult}), {config.num_res_blocks} blocks per level, "
        f"attention at 1/{', 1/'.join(map(str, config.attention_resolutions)) or 'none'}, "
        f"{config.num_classes or 'no'} classes and {config.out_channels} output channels"
    )


def _require_fit(found: Signature, expected: Signature, source: str) -> None:
    """Raise ModelError, naming the first keys at fault and the known network that would fit, unless equal."""
    faults = misfit(found, expected)
    if faults is None:
        return
    name = _known_name(found)
    advice = f"it fits config={name!r}" if name else "the file is incomplete, or of another configuration"
    raise ModelError(f"{source} does not fit its configuration: {faults}; {advice}")
