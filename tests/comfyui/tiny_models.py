"""Tiny models with random weights, of ComfyUI's real classes: what nodes that take any MODEL are tested with.

`comfyui_python` imports this in the folder of ComfyUI, after ComfyUI has parsed its options. Everything but sizes and
weights is core's own: latent format, noise schedule, prediction, conditioning, VAE, and the patcher around them.
Weights that are made under `torch.inference_mode()`, as in a node, are inference tensors, as those of core's loaders.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import comfy.cldm.cldm
import comfy.ldm.chroma_radiance.model
import comfy.ldm.flux.controlnet
import comfy.model_management
import comfy.model_patcher
import comfy.nested_tensor
import comfy.ops
import comfy.sd
import comfy.supported_models
import comfy.taesd.taehv
import comfy.taesd.taesd
import torch
from comfy.ldm.audio.autoencoder import AudioOobleckVAE
from comfy.ldm.audio.embedders import NumberConditioner
from comfy.ldm.lightricks.vae.causal_video_autoencoder import VideoVAE
from comfy.ldm.models.autoencoder import AutoencoderKL, AutoencodingEngine
from comfy.ldm.wan.vae import WanVAE
from comfyui.tiny_kinds import KINDS, SIDE, Kind
from safetensors.torch import save_file

import nodes  # ComfyUI's

TOKENS = 8  # length of a prompt


class Tiny(NamedTuple):
    """All that a graph needs to sample one kind, as core's loader nodes, text encoders, and empty latents give it."""

    model: comfy.model_patcher.ModelPatcher
    vae: comfy.sd.VAE
    positive: list
    negative: list
    latent: dict[str, Any]


def missing(kind: str) -> str | None:
    """Why this ComfyUI cannot have the kind, or None."""
    config = KINDS[kind].config
    if hasattr(comfy.supported_models, config):
        return None
    return f"this ComfyUI has no comfy.supported_models.{config}"


def tiny(kind: str, batch: int = 1, seed: int = 0) -> Tiny:
    """Model, VAE, two prompts, and an empty latent of 64x64 pictures of one kind. The same seed gives the same."""
    found, model, vae = KINDS[kind], tiny_model(kind, seed), tiny_vae(kind, seed)
    positive, negative = prompt(found, seed), prompt(found, seed + 1)
    samples = torch.zeros(batch, *found.latent)
    if found.sound:
        samples = comfy.nested_tensor.NestedTensor((samples, torch.zeros(batch, *found.sound)))
    if kind == "sd15_inpaint":
        picture = torch.rand(1, SIDE, SIDE, 3, generator=_generator(seed))
        mask = torch.zeros(1, SIDE, SIDE)
        mask[..., : SIDE // 2] = 1
        positive, negative, _ = nodes.InpaintModelConditioning().encode(
            positive, negative, picture, vae, mask
        )
    return Tiny(model, vae, positive, negative, {"samples": samples})


def tiny_model(kind: str, seed: int = 0, disable_dynamic: bool = False) -> comfy.model_patcher.ModelPatcher:
    """The MODEL of one kind, as core's loader makes it from a checkpoint that it has recognized."""
    found = KINDS[kind]
    config = getattr(comfy.supported_models, found.config)(_sizes(found))
    config.set_inference_dtype(torch.float32, None)
    model = config.get_model(_beside_the_network(kind, seed), "")
    randomize(model.diffusion_model, seed)
    core = getattr(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcher)
    patcher = (comfy.model_patcher.ModelPatcher if disable_dynamic else core)(
        model,
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )
    patcher.cached_patcher_init = (tiny_model, (kind, seed))  # how newer versions load a model anew
    return patcher


def _sizes(kind: Kind) -> dict[str, Any]:
    if kind.config != "ChromaRadiance":
        return kind.network
    known = {field.name for field in dataclasses.fields(comfy.ldm.chroma_radiance.model.ChromaRadianceParams)}
    return {name: size for name, size in kind.network.items() if name in known | {"image_model"}}


def _beside_the_network(kind: str, seed: int) -> dict[str, torch.Tensor]:
    """What a configuration reads from a checkpoint beside the weights of the network."""
    if kind == "sd2_v":  # by this bias core tells v-prediction from epsilon
        return {"output_blocks.11.1.transformer_blocks.0.norm1.bias": torch.tensor([-1.0, 1.0])}
    if kind == "stable_audio":
        weights = randomize(NumberConditioner(768), seed).state_dict()
        names = ("seconds_start", "seconds_total")
        return {f"conditioner.conditioners.{name}.{key}": weights[key] for name in names for key in weights}
    return {}


def prompt(kind: Kind, seed: int) -> list:
    """A CONDITIONING such as the text encoder of the kind gives."""
    generator = _generator(seed)
    pooled = torch.randn(1, kind.pooled, generator=generator) if kind.pooled else None
    values = kind.extra | {"pooled_output": pooled}
    if kind.config in ("LTXV", "LTXAV"):
        values["attention_mask"] = torch.ones(1, TOKENS, dtype=torch.long)
    if kind.config == "HiDreamO1":
        values["text_input_ids"] = torch.randint(0, 1000, (1, TOKENS), generator=generator)
    return [[torch.randn(1, TOKENS, kind.text, generator=generator), values]]


def tiny_vae(kind: str, seed: int = 0) -> comfy.sd.VAE:
    """The VAE of one kind, with the ratios and ranges that core finds by its detection."""
    return VAES[KINDS[kind].vae](seed)


def _vae(
    network: torch.nn.Module, full_width: str | None = None, metadata: dict | None = None
) -> comfy.sd.VAE:
    """A VAE whose kind core detects from the network's weights.

    `full_width` names what core would build at its full width for this kind; it gets the network instead.
    """
    shrunken = mock.patch.object(comfy.sd, full_width, return_value=network) if full_width else nullcontext()
    with shrunken:
        vae = comfy.sd.VAE(sd=network.state_dict(), metadata=metadata)
    vae.throw_exception_if_invalid()
    return vae


def _kl(channels: int, **sizes: Any) -> dict[str, Any]:
    return {
        "double_z": True,
        "z_channels": channels,
        "resolution": 256,
        "in_channels": 3,
        "out_ch": 3,
        "ch": 32,
        "ch_mult": [1, 1, 1, 1],
        "num_res_blocks": 1,
        "attn_resolutions": [],
        "dropout": 0.0,
    } | sizes


def _kl_4(seed: int) -> comfy.sd.VAE:
    return _vae(randomize(AutoencoderKL(ddconfig=_kl(4), embed_dim=4), seed), "AutoencoderKL")


def _kl_16(seed: int) -> comfy.sd.VAE:
    """That of SD3 and Flux, which has no convolution at the latent."""
    network = AutoencodingEngine(
        regularizer_config={"target": "comfy.ldm.models.autoencoder.DiagonalGaussianRegularizer"},
        encoder_config={"target": "comfy.ldm.modules.diffusionmodules.model.Encoder", "params": _kl(16)},
        decoder_config={"target": "comfy.ldm.modules.diffusionmodules.model.Decoder", "params": _kl(16)},
    )
    return _vae(randomize(network, seed), "AutoencodingEngine")


def _kl_flux2(seed: int) -> comfy.sd.VAE:
    network = AutoencoderKL(ddconfig=_kl(32, batch_norm_latent=True), embed_dim=32)
    return _vae(randomize(network, seed), "AutoencoderKL")


def _kl_hunyuan_video(seed: int) -> comfy.sd.VAE:
    network = AutoencoderKL(ddconfig=_kl(16, conv3d=True, time_compress=4), embed_dim=16)
    return _vae(randomize(network, seed), "AutoencoderKL")


def _taesd_16(seed: int) -> comfy.sd.VAE:
    network = randomize(comfy.taesd.taesd.TAESD(latent_channels=16), seed)
    network.vae_scale.data.fill_(0.3611)  # as VAELoader does for taef1
    network.vae_shift.data.fill_(0.1159)
    return _vae(network)


def _taehv_16(seed: int) -> comfy.sd.VAE:
    return _vae(randomize(comfy.taesd.taehv.TAEHV(latent_channels=16), seed))


def _wan(seed: int) -> comfy.sd.VAE:
    network = WanVAE(
        dim=16,
        z_dim=16,
        dim_mult=[1, 2, 4, 4],
        num_res_blocks=2,
        attn_scales=[],
        temperal_downsample=[False, True, True],
    )
    return _vae(randomize(network, seed))


def _ltxv(seed: int) -> comfy.sd.VAE:
    halve = [["compress_all", 1], ["res_x", 1]]
    config = {
        "dims": 3,
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": 128,
        "encoder_base_channels": 16,
        "decoder_base_channels": 16,
        "blocks": [["res_x", 1], *halve, *halve, *halve],
        "norm_layer": "pixel_norm",
        "patch_size": 4,
        "latent_log_var": "uniform",
        "causal_decoder": False,
    }
    return _vae(randomize(VideoVAE(config=config), seed), metadata={"config": json.dumps({"vae": config})})


def _oobleck(seed: int) -> comfy.sd.VAE:
    return _vae(randomize(AudioOobleckVAE(channels=4), seed), "AudioOobleckVAE")


def _pixel_space(seed: int) -> comfy.sd.VAE:
    """What Load VAE gives for pixel_space: no network at all."""
    return comfy.sd.VAE(sd={"pixel_space_vae": torch.tensor(1.0)})


VAES: dict[str, Callable[[int], comfy.sd.VAE]] = {
    "kl_4": _kl_4,
    "kl_16": _kl_16,
    "kl_flux2": _kl_flux2,
    "kl_hunyuan_video": _kl_hunyuan_video,
    "taesd_16": _taesd_16,
    "taehv_16": _taehv_16,
    "wan": _wan,
    "ltxv": _ltxv,
    "oobleck": _oobleck,
    "pixel_space": _pixel_space,
}


def randomize(network: torch.nn.Module, seed: int, gain: float = 1) -> torch.nn.Module:
    """Fills in all weights, which core's layers leave uninitialized, so that activations keep about their size.

    `gain` is for networks that lose it in many activation functions.
    """
    generator = _generator(seed)

    def noise(tensor: torch.Tensor, scale: float) -> torch.Tensor:
        return scale * torch.randn(tensor.shape, generator=generator)

    buffers = [item for item in network.named_buffers() if item[0].endswith(_FROM_THE_CHECKPOINT)]
    with torch.no_grad():
        for name, weight in [*network.named_parameters(), *buffers]:
            if weight.ndim == 0:
                continue
            if name.endswith(("bias", "mean", "mean-of-means")):
                weight.copy_(noise(weight, 0.02))
            elif weight.numel() == max(weight.shape):  # a factor for each channel
                weight.copy_(1 + noise(weight, 0.1))
            else:
                weight.copy_(noise(weight, gain * weight[0].numel() ** -0.5))
    return network.eval()


# Core computes all other buffers itself.
_FROM_THE_CHECKPOINT = (
    *("pos_embed", "transformer.rotary_pos_emb.inv_freq"),
    *("running_mean", "running_var", "of-means", "of-stds", "statistics.channel"),
)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def write_lora(kind: str, path: Path, seed: int = 0) -> None:
    """A LoRA of rank 4 for the linear layers of one kind, as a file of `models/loras`."""
    generator = _generator(seed)
    weights = {}
    for name, layer in tiny_model(kind).model.diffusion_model.named_modules():
        if isinstance(layer, torch.nn.Linear):
            key, (out, into) = f"diffusion_model.{name}", layer.weight.shape
            weights[f"{key}.lora_A.weight"] = torch.randn(4, into, generator=generator) / math.sqrt(into)
            weights[f"{key}.lora_B.weight"] = torch.randn(out, 4, generator=generator) / 4
    save_file(weights, path)


def write_controlnet(kind: str, path: Path, seed: int = 0) -> None:
    """A ControlNet for "sd15" or "flux" (XLabs' layout), as a file of `models/controlnet`."""
    network = CONTROLNETS[kind]()
    names = {".query_norm.weight": ".query_norm.scale", ".key_norm.weight": ".key_norm.scale"}
    weights = {}
    for key, weight in randomize(network, seed, gain=1.5).state_dict().items():
        for core, file in names.items():
            key = key.replace(core, file)
        weights[key] = weight.contiguous()
    save_file(weights, path)


def _controlnet_sd15() -> torch.nn.Module:
    sizes = {name: size for name, size in KINDS["sd15"].network.items() if name != "out_channels"}
    return comfy.cldm.cldm.ControlNet(
        **sizes, hint_channels=3, num_head_channels=64, operations=comfy.ops.disable_weight_init
    )


def _controlnet_flux() -> torch.nn.Module:
    sizes = KINDS["flux"].network
    return comfy.ldm.flux.controlnet.ControlNetFlux(**sizes, operations=comfy.ops.disable_weight_init)


CONTROLNETS = {"sd15": _controlnet_sd15, "flux": _controlnet_flux}
