"""ComfyUI's decoders and diffusion networks in the shapes of well-known checkpoints, without weights."""

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffuseit.errors import InputError

DTYPE = torch.bfloat16

KL: dict[str, Any] = {
    "double_z": True,
    "resolution": 256,
    "in_channels": 3,
    "out_ch": 3,
    "ch": 128,
    "ch_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "attn_resolutions": [],
    "dropout": 0.0,
}
WAN: dict[str, Any] = {
    "dim": 96,
    "z_dim": 16,
    "dim_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "attn_scales": [],
    "temperal_downsample": [False, True, True],
}
SDXL: dict[str, Any] = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 320,
    "channel_mult": [1, 2, 4],
    "num_res_blocks": [2, 2, 2],
    "transformer_depth": [0, 0, 2, 2, 10, 10],
    "transformer_depth_middle": 10,
    "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
    "num_head_channels": 64,
    "context_dim": 2048,
    "num_classes": "sequential",
    "adm_in_channels": 2816,
    "use_spatial_transformer": True,
    "use_linear_in_transformer": True,
    "legacy": False,
}
FLUX: dict[str, Any] = {
    "in_channels": 16,
    "out_channels": 16,
    "patch_size": 2,
    "hidden_size": 3072,
    "mlp_ratio": 4.0,
    "num_heads": 24,
    "depth": 19,
    "depth_single_blocks": 38,
    "axes_dim": [16, 56, 56],
    "theta": 10000,
    "qkv_bias": True,
    "vec_in_dim": 768,
    "context_in_dim": 4096,
    "txt_ids_dims": [],
    "guidance_embed": True,
}


@dataclass(frozen=True)
class Decoder:
    """A decoder on the meta device, `network.decode`. `pixels`: of a side for one of the latent. `frames`: video."""

    name: str
    network: Any
    channels: int
    pixels: int = 8
    frames: bool = False

    def latent(self, side: int) -> Tensor:
        """Return the latent of one square picture, `side` pixels wide."""
        here = side // self.pixels
        return _empty(1, self.channels, *((1,) if self.frames else ()), here, here)


@dataclass(frozen=True)
class Model:
    """A diffusion network on the meta device, and the inputs of one evaluation for a picture of 1024x1024 pixels.

    `full` and `tiny` name its decoders.
    """

    name: str
    network: nn.Module
    inputs: tuple[Tensor, ...]
    named: dict[str, Tensor]
    full: str
    tiny: str


def enter(checkout: Path) -> None:
    """Make ComfyUI's packages importable, set to attention that keeps no matrix, as on a GPU.

    Raise `InputError` if the folder is no ComfyUI, or if this Python lacks what it needs.
    """
    if not (checkout / "comfy" / "ldm").is_dir():
        raise InputError(f"{checkout} is no checkout of ComfyUI: comfy/ldm is missing")
    sys.path.insert(0, str(checkout.resolve()))
    try:
        args = importlib.import_module("comfy.cli_args").args
        args.cpu = args.use_pytorch_cross_attention = True
        importlib.import_module("comfy.ops")
    except ImportError as error:
        raise InputError(
            f"this Python cannot import ComfyUI ({error}): use the one that runs ComfyUI with this pack"
        ) from error


def decoders() -> list[Decoder]:
    """Return the decoders that this ComfyUI knows. Those of SD3 and Flux lack a 1x1 convolution that these have."""
    kl = importlib.import_module("comfy.ldm.models.autoencoder")
    tiny = importlib.import_module("comfy.taesd.taesd")
    wan = importlib.import_module("comfy.ldm.wan.vae")
    with torch.device("meta"):
        found = [
            Decoder("KL (SD1.5, SDXL)", kl.AutoencoderKL(ddconfig={**KL, "z_channels": 4}, embed_dim=4), 4),
            Decoder(
                "KL (SD3, Flux.1)", kl.AutoencoderKL(ddconfig={**KL, "z_channels": 16}, embed_dim=16), 16
            ),
            Decoder(
                "KL (Flux.2)",
                kl.AutoencoderKL(ddconfig={**KL, "z_channels": 32, "batch_norm_latent": True}, embed_dim=32),
                128,
                pixels=16,
            ),
            Decoder("Wan 2.1 (Qwen-Image), one frame", wan.WanVAE(**WAN), 16, frames=True),
            Decoder("TAESD (SD1.5, SDXL)", tiny.TAESD(latent_channels=4), 4),
            Decoder("TAESD (SD3, Flux.1)", tiny.TAESD(latent_channels=16), 16),
        ]
        if hasattr(tiny, "DecoderFlux2"):  # not in ComfyUI 0.14
            found.append(Decoder("TAEF2 (Flux.2)", tiny.TAESD(latent_channels=128), 128, pixels=16))
    for decoder in found:
        decoder.network.to(DTYPE).eval().requires_grad_(False)
    return found


def models(text_tokens: tuple[int, ...] = (256, 512)) -> list[Model]:
    """Return SDXL's U-Net, and Flux.1 dev with each number of text tokens. ComfyUI pads short prompts to 256."""
    unet = importlib.import_module("comfy.ldm.modules.diffusionmodules.openaimodel").UNetModel
    transformer = importlib.import_module("comfy.ldm.flux.model").Flux
    made = {
        "dtype": DTYPE,
        "device": "meta",
        "operations": importlib.import_module("comfy.ops").disable_weight_init,
    }
    sdxl, flux = unet(**SDXL, **made), transformer(image_model="flux", **FLUX, **made)
    time = torch.empty(1, device="meta")
    return [
        Model(
            "SDXL",
            sdxl.eval(),
            (_empty(1, 4, 128, 128), time, _empty(1, 77, SDXL["context_dim"])),
            {"y": _empty(1, SDXL["adm_in_channels"])},
            "KL (SD1.5, SDXL)",
            "TAESD (SD1.5, SDXL)",
        ),
        *(
            Model(
                f"Flux.1 dev, {tokens} text tokens",
                flux.eval(),
                (_empty(1, 16, 128, 128), time, _empty(1, tokens, FLUX["context_in_dim"])),
                {"y": _empty(1, FLUX["vec_in_dim"]), "guidance": time},
                "KL (SD3, Flux.1)",
                "TAESD (SD3, Flux.1)",
            )
            for tokens in text_tokens
        ),
    ]


def _empty(*shape: int) -> Tensor:
    return torch.empty(shape, dtype=DTYPE, device="meta")
