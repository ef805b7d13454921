"""Read the parity vectors: what the official code gives on small random networks (tests/parity/README.md).

`DIFFUSEIT_PARITY` points the same tests at another folder of the same format, so nothing here or in the tests
knows a size, a name or a weight that `config.json` and the tensors themselves do not give.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from safetensors import safe_open
from torch import Tensor

if TYPE_CHECKING:
    from diffuseit.models.clip import CLIPEnsemble
    from diffuseit.models.crops import Crops
    from diffuseit.models.ddpm import PixelDDPM
    from diffuseit.models.vit import ViT

# Bounds of the README, relative to the largest entry of what is compared.
SCHEDULE = 1e-12
UNET = 1e-5
UNET_GRADIENT = 1e-4
VALUE = 1e-4
GRADIENT = 1e-3

_QUANTIZED = re.compile(r"_q(\d+)$")
_THINNED = re.compile(r"_(rows|strided?)(\d+)$")
_CLIP_VOCABULARY = 49408


@dataclass(frozen=True)
class ParitySet:
    """A folder of vectors and its `config.json`."""

    folder: Path
    config: dict[str, Any]

    def has(self, name: str) -> bool:
        """Whether `<name>.safetensors` is in the set (`agg/...` is missing from some)."""
        return (self.folder / f"{name}.safetensors").is_file()


@lru_cache(maxsize=1)
def parity_set() -> ParitySet:
    """The set the tests run on: `$DIFFUSEIT_PARITY`, else tests/parity."""
    folder = Path(os.environ.get("DIFFUSEIT_PARITY") or Path(__file__).parent / "parity").resolve()
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"no parity set at {folder}: it has no config.json (DIFFUSEIT_PARITY, tests/parity)"
        )
    return ParitySet(folder, json.loads((folder / "config.json").read_text(encoding="utf-8")))


def read_json(name: str) -> dict[str, Any]:
    """`<name>.json` of the set, e.g. `read_json("traj_text")`."""
    return json.loads((parity_set().folder / f"{name}.json").read_text(encoding="utf-8"))


@lru_cache(maxsize=8)
def _read(name: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(parity_set().folder / f"{name}.safetensors", "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118


def _decode(tensor: Tensor, quantum: int | None) -> Tensor:
    if quantum is not None:
        return tensor.float() / quantum
    if tensor.dtype == torch.float16:
        return tensor.float()
    return tensor.long() if tensor.dtype == torch.uint16 else tensor


def tensors(name: str) -> dict[str, Tensor]:
    """The tensors of `<name>.safetensors`, decoded.

    `x_q64` (int8, value / 64) and `noise_q32` (int8, value / 32) become float32 `x` and `noise`, without
    suffix. fp16 becomes float32 and uint16 int64; float64 (schedules) and uint8 (pictures) stay.
    """
    decoded = {}
    for key, tensor in _read(name)[0].items():
        match = _QUANTIZED.search(key)
        decoded[_QUANTIZED.sub("", key)] = _decode(tensor, int(match[1]) if match else None)
    return decoded


def weights(kind: str, clip: str | None = None) -> dict[str, Tensor]:
    """The float32 state dict of "unet", "dino" or "clip" (then `clip` is its name), in its own layout."""
    entry = parity_set().config["weights"][kind]
    state, metadata = _read(entry if clip is None else entry[clip])
    state = {key: _decode(tensor, None) for key, tensor in state.items()}
    short = state.get("token_embedding.weight")
    if short is not None:  # row i of the vocabulary is stored at i modulo the rows stored
        rows = int(metadata.get("vocab_size", _CLIP_VOCABULARY))
        state["token_embedding.weight"] = short[torch.arange(rows) % len(short)]
    return state


def loss_sets() -> list[str]:
    """Names of the loss vectors: file `losses_<name>`, scalars `config["losses"][<name>]`."""
    return [key for key, value in parity_set().config["losses"].items() if isinstance(value, dict)]


def agg_trajectories() -> list[str]:
    """File names of the recorded AGG runs, e.g. "agg/traj_agg_text"; none where the set has no such folder."""
    return sorted(f"agg/{path.stem}" for path in (parity_set().folder / "agg").glob("traj_agg_*.json"))


def trajectories() -> list[str]:
    """File names of the recorded runs, e.g. "traj_text": `read_json(name)` and `tensors(name)`."""
    return list(parity_set().config["trajectories"].values())


@lru_cache(maxsize=1)
def ddpm() -> PixelDDPM:
    """The set's diffusion model through our own loader."""
    from diffuseit.models.ddpm import DiffusionConfig
    from diffuseit.models.ddpm_checkpoint import load_ddpm
    from diffuseit.models.unet import UNetConfig

    flags = parity_set().config["model_config"]
    config = UNetConfig.from_guided_diffusion(flags), DiffusionConfig.from_guided_diffusion(flags)
    return load_ddpm(weights("unet"), config)


@lru_cache(maxsize=2)
def vit(antialias: bool = False) -> ViT:
    """The set's DINO network through our own loader."""
    from diffuseit.models.vit import ViTConfig, load_vit

    dino = parity_set().config["dino"]
    # config.json has the size of the network; the number of recorded key rows tells the size of its input.
    recorded = [tensors(f"losses_{name}") for name in loss_sets()]
    rows = next((len(data["keys"]) for data in recorded if "keys" in data), 0)
    grid = math.isqrt(max(rows - 1, 0)) or dino["img_size"] // dino["patch_size"]
    input_size = (
        dino["img_size"] if dino["img_size"] // dino["patch_size"] == grid else grid * dino["patch_size"]
    )
    return load_vit(
        weights("dino"),
        config=ViTConfig(
            embed_dim=dino["embed_dim"],
            depth=dino["depth"],
            num_heads=dino["num_heads"],
            patch_size=dino["patch_size"],
            image_size=dino["img_size"],
            mlp_ratio=dino["mlp_ratio"],
            qkv_bias=dino["qkv_bias"],
            norm_eps=dino["norm_eps"],
            input_size=input_size,
        ),
        antialias=antialias,
    )


@lru_cache(maxsize=2)
def clips(antialias: bool = False) -> CLIPEnsemble:
    """The set's CLIP networks, in the order of config.json, through our own loader."""
    from diffuseit.models.clip import CLIPEnsemble, load_clip

    names = parity_set().config["clip"]
    return CLIPEnsemble(load_clip(weights("clip", name), name=name, antialias=antialias) for name in names)


def recorded_crops(entries: Sequence[dict[str, Any]]) -> Crops:
    """`Crops` of one batch item from recorded {"angle", "crop_ijhw", "hflip"} entries, one per crop."""
    from diffuseit.models.crops import Crops

    boxes = torch.tensor([entry["crop_ijhw"] for entry in entries])[None]
    angle = torch.tensor([entry["angle"] for entry in entries], dtype=torch.float64)[None]
    return Crops(angle, *boxes.unbind(-1), flip=torch.tensor([entry["hflip"] for entry in entries])[None])


class Recorded:
    """Replays a recorded stream of noise and crops."""

    def __init__(self, noise: Iterable[Tensor], crops: Iterable[dict[str, Any]]):
        self.stream, self.recorded = list(noise), list(crops)

    def noise(self, shape: torch.Size) -> Tensor:
        return self.stream.pop(0).reshape(shape)

    def crops(self, count: int, image_size: tuple[int, int]) -> Crops:
        taken, self.recorded[:count] = self.recorded[:count], []
        return recorded_crops(taken)

    def labels(self, num_classes: int) -> Tensor:
        raise AssertionError("the recorded networks have no classes")


def picture(name: str) -> Tensor:
    """A picture of the set, at the size of its diffusion model, [1, 3, H, W]."""
    from diffuseit.images.io import to_tensor

    size = ddpm().image_size
    image = Image.open(parity_set().folder / name).convert("RGB")
    return to_tensor(image.resize((size, size), Image.Resampling.LANCZOS))


def matched(data: dict[str, Tensor], name: str, actual: Tensor) -> tuple[Tensor, Tensor]:
    """(`actual` thinned as the recorded tensor was, the recorded tensor).

    The recorded tensor is called `name`, `name_rows<k>` (every k-th row) or `name_stride<k>` (of both sides).
    One recorded without a suffix but smaller is thinned by the stride its shape tells.
    """
    for key, expected in data.items():
        match = _THINNED.search(key)
        if _THINNED.sub("", key) != name:
            continue
        if match:
            step = int(match[2])
            actual = actual[..., ::step, :] if match[1] == "rows" else actual[..., ::step, ::step]
        elif actual.shape[-1] != expected.shape[-1]:
            step = math.ceil(actual.shape[-1] / expected.shape[-1])
            actual = actual[..., ::step, ::step]
        return actual.reshape(expected.shape), expected
    raise KeyError(f"{name} is not among the recorded tensors: {sorted(data)}")


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """max |actual - expected| / max |expected|: what the README's bounds are about."""
    return ((actual.double() - expected.double()).abs().max() / expected.double().abs().max()).item()
