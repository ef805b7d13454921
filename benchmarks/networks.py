"""Random networks of the paper's sizes, the same in every process. Only their shapes matter."""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import open_clip
import torch
from torch import Tensor, nn

from diffuseit.models.bundle import Models
from diffuseit.models.clip import CLIP, CLIPEnsemble, load_clip
from diffuseit.models.configs import CONFIGS
from diffuseit.models.ddpm_checkpoint import load_ddpm
from diffuseit.models.unet import UNet, UNetConfig
from diffuseit.models.vit import ViT, ViTConfig, load_vit

State = dict[str, Tensor]

DIFFUSION = CONFIGS["adm256-uncond"][1]
TEXT = {"context_length": 77, "vocab_size": 49408}


@dataclass(frozen=True)
class Scale:
    """Shapes of all networks. Images are 256x256, which the official code requires."""

    unet: UNetConfig
    vit: ViTConfig
    clips: Mapping[str, dict[str, Any]]  # open_clip's model_cfg by OpenAI's name


def _clip(architecture: str) -> dict[str, Any]:
    return dict(open_clip.get_model_config(f"{architecture}-quickgelu") or {})


def _small_clip(embed_dim: int, **vision: Any) -> dict[str, Any]:
    text = {**TEXT, "width": 64, "heads": 1, "layers": 1}
    return {"embed_dim": embed_dim, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}


def _unet(width: int) -> UNetConfig:
    flags = {
        "image_size": 256,
        "num_channels": width,
        "num_res_blocks": 2,
        "num_head_channels": 64,
        "attention_resolutions": "32,16,8",
        "resblock_updown": True,
        "learn_sigma": True,
    }
    return UNetConfig.from_guided_diffusion(flags)


SCALES: dict[str, Scale] = {
    "paper": Scale(
        unet=_unet(256),
        vit=ViTConfig(embed_dim=768, depth=12, num_heads=12, patch_size=8, image_size=224),
        clips={
            "RN50": _clip("RN50"),
            "RN50x4": _clip("RN50x4"),
            "ViT-B/32": _clip("ViT-B-32"),
            "RN50x16": _clip("RN50x16"),
            "ViT-B/16": _clip("ViT-B-16"),
        },
    ),
    # For tests: the same numbers of blocks, pixels and calls at a fraction of the width.
    "small": Scale(
        unet=_unet(32),
        vit=ViTConfig(embed_dim=48, depth=12, num_heads=3, patch_size=8, image_size=224),
        clips={
            "RN": _small_clip(32, image_size=64, layers=[1, 1, 1, 1], width=16, patch_size=None),
            "ViT": _small_clip(48, image_size=64, layers=2, width=64, patch_size=16),
        },
    ),
}


def unet_state(scale: Scale) -> State:
    """Random weights in guided-diffusion's layout."""
    return randomized(lambda: UNet(scale.unet), "unet")


def vit_state(scale: Scale) -> State:
    """Random weights in DINO's layout."""
    return randomized(scale.vit.build, "vit")


def clip_state(scale: Scale, name: str) -> State:
    """Random weights in OpenAI's layout."""
    return randomized(lambda: open_clip.CLIP(**scale.clips[name]), name)


def randomized(network: Callable[[], nn.Module], name: str) -> State:
    """Return random values of the usual size for each tensor, rounded to half precision, as some loaders do."""
    with torch.device("meta"):
        shapes = network().state_dict()
    return {key: _random(f"{name}/{key}", value) for key, value in shapes.items()}


def _random(name: str, like: Tensor) -> Tensor:
    if not like.is_floating_point() or like.ndim == 0 or name.endswith("running_mean"):
        return torch.zeros(like.shape, dtype=like.dtype)
    if name.endswith("running_var") or (like.ndim == 1 and name.endswith("weight")):
        return torch.ones(like.shape)
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    values = torch.empty(like.shape).normal_(generator=generator)
    fan_in = like[0].numel() if like.ndim > 1 and name.endswith("weight") else like.shape[-1]
    return values.mul_(0.5 * fan_in**-0.5).half().float()


def vit_without_weights(config: ViTConfig, dtype: torch.dtype) -> ViT:
    """Return a ViT on the meta device."""
    with torch.device("meta"):
        return ViT(config.build(), input_size=config.input_size).cast(dtype)


def clip_without_weights(name: str, config: Mapping[str, Any], dtype: torch.dtype) -> CLIP:
    """Return a CLIP on the meta device."""
    with torch.device("meta"):
        return CLIP(open_clip.CLIP(**config), open_clip.tokenize, name=name).cast(dtype)


def _clip_network(scale: Scale, name: str, dtype: torch.dtype) -> CLIP:
    return load_clip(clip_state(scale, name), name=name, antialias=True, dtype=dtype)


def build(scale: Scale, mode: str, dtype: torch.dtype, clips: int | None = None) -> Models:
    """Return our networks for a text or image run. The latter has no CLIP.

    They antialias, as current versions of torchvision do, with which the official code resizes.
    """
    ddpm = load_ddpm(unet_state(scale), (scale.unet, DIFFUSION), dtype=dtype)
    vit = load_vit(vit_state(scale), config=scale.vit, antialias=True, dtype=dtype)
    if mode == "image":
        return Models(ddpm, vit, None)  # type: ignore[arg-type]
    names = list(scale.clips)[:clips]
    return Models(ddpm, vit, CLIPEnsemble(_clip_network(scale, name, dtype) for name in names))
