"""The published ADM U-Nets: shape and diffusion process by name."""

from typing import Any

from ..errors import InputError
from .ddpm import DiffusionConfig
from .unet import UNetConfig

DDPMConfig = tuple[UNetConfig, DiffusionConfig]


def _config(image_size: int, **flags: Any) -> DDPMConfig:
    """From the guided-diffusion flags that differ from those of the 256x256 unconditional model."""
    merged = {
        "image_size": image_size,
        "num_channels": 256,
        "num_res_blocks": 2,
        "num_head_channels": 64,
        "attention_resolutions": "32,16,8",
        "resblock_updown": True,
        "use_scale_shift_norm": True,
        "learn_sigma": True,
        "diffusion_steps": 1000,
        "rescale_timesteps": True,
        **flags,
    }
    return UNetConfig.from_guided_diffusion(merged), DiffusionConfig.from_guided_diffusion(merged)


CONFIGS: dict[str, DDPMConfig] = {
    "adm256-uncond": _config(256),
    "adm256-class": _config(256, class_cond=True),
    "adm512-uncond": _config(512),  # Crowson's fine-tune of adm512-class
    "adm512-class": _config(512, class_cond=True),
    "adm128-class": _config(128, class_cond=True, num_heads=4, num_head_channels=-1),
    "adm64-class": _config(
        64,
        class_cond=True,
        num_channels=192,
        num_res_blocks=3,
        dropout=0.1,
        noise_schedule="cosine",
        use_new_attention_order=True,
    ),
    # FFHQ, CelebA-HQ, AFHQ-dog, MetFaces, CUB and Flowers of P2 weighting, and ffhq_10m.pt
    "ffhq-p2": _config(256, num_channels=128, num_res_blocks=1, attention_resolutions="16"),
    # In evaluation the same network as adm256-uncond
    "lsun": _config(256, dropout=0.1),
}


def known_config(name: str) -> DDPMConfig:
    """The named configuration; raises `InputError` that lists the names."""
    if name not in CONFIGS:
        raise InputError(f"unknown configuration {name!r}: use one of {', '.join(CONFIGS)}")
    return CONFIGS[name]
