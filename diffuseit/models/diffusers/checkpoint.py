"""A diffusers checkpoint as a `Backbone`: its autoencoder, its U-Net or transformer, its text encoders, its noise."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import InputError, ModelError
from ...schema import printable, shown
from ..checkpoint import misfit, owned, require_numbers, signature, without_memory
from ..latent import LatentDiffusion, LatentFormat
from .denoiser import Call, Run, flux_multiple, run_flux, run_sd3, run_unet, sd3_multiple, unet_multiple
from .folder import INDEX, Folder
from .library import failures, library_class, quiet, require_libraries
from .process import Process, read_process
from .text import (
    CLIP,
    PROJECTED_CLIP,
    T5,
    Condition,
    Encode,
    TextConfig,
    TextEncoder,
    encode_flux,
    encode_sd,
    encode_sd3,
    encode_sdxl,
)

CFG = 3.0
"""The default scale of classifier-free guidance. Losses guide too, and beside them low scales are better."""

LARGEST_CFG = 100.0
SMALLEST_RESOLUTION, LARGEST_RESOLUTION = 32, 4096

_PROBE = 128
"""Pixels of a side of the image with which the parts are tried on each other."""

_AUTOENCODERS = ("AutoencoderKL", "AutoencoderTiny")
_DEFAULT_LATENT_SIZE = 128

Widths = tuple[int, int | None]
"""Numbers that a network takes of each token, and of a text as a whole."""


@dataclass(frozen=True)
class Layout:
    """What a pipeline of diffusers consists of.

    `encoders`: the classes that each text encoder may have; the `optional` ones may be left out. `wanted` reads off the
    configuration of the network what it is told of a text; `given` says what the text encoders give (None: anything).
    """

    part: str
    network: str
    run: Run
    multiple: Callable[[Any], int]
    packed: int
    flow: bool
    encoders: Mapping[str, tuple[str, ...]]
    encode: Encode
    wanted: Callable[[Mapping[str, Any]], Widths]
    given: Callable[[Mapping[str, TextConfig]], tuple[int | None, int | None]]
    optional: tuple[str, ...] = ()


def _wanted_by_unet(config: Mapping[str, Any]) -> Widths:
    pooled = None
    if config.get("addition_embed_type") == "text_time":
        pooled = config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"]
    return config["cross_attention_dim"], pooled


def _wanted_by_transformer(config: Mapping[str, Any]) -> Widths:
    return config["joint_attention_dim"], config["pooled_projection_dim"]


_SD3_ENCODERS = {"text_encoder": PROJECTED_CLIP, "text_encoder_2": PROJECTED_CLIP, "text_encoder_3": T5}

LAYOUTS = {
    "StableDiffusionPipeline": Layout(
        part="unet",
        network="UNet2DConditionModel",
        run=run_unet,
        multiple=unet_multiple,
        packed=1,
        flow=False,
        encoders={"text_encoder": CLIP},
        encode=encode_sd,
        wanted=_wanted_by_unet,
        given=lambda texts: (texts["text_encoder"].width, None),
    ),
    "StableDiffusionXLPipeline": Layout(
        part="unet",
        network="UNet2DConditionModel",
        run=run_unet,
        multiple=unet_multiple,
        packed=1,
        flow=False,
        encoders={"text_encoder": CLIP, "text_encoder_2": PROJECTED_CLIP},
        encode=encode_sdxl,
        wanted=_wanted_by_unet,
        given=lambda texts: (
            texts["text_encoder"].width + texts["text_encoder_2"].width,
            texts["text_encoder_2"].summary,
        ),
    ),
    "StableDiffusion3Pipeline": Layout(
        part="transformer",
        network="SD3Transformer2DModel",
        run=run_sd3,
        multiple=sd3_multiple,
        packed=1,
        flow=True,
        encoders=_SD3_ENCODERS,
        encode=encode_sd3,
        wanted=_wanted_by_transformer,
        given=lambda texts: (
            texts["text_encoder_3"].width if "text_encoder_3" in texts else None,
            texts["text_encoder"].summary + texts["text_encoder_2"].summary,
        ),
        optional=("text_encoder_3",),
    ),
    "FluxPipeline": Layout(
        part="transformer",
        network="FluxTransformer2DModel",
        run=run_flux,
        multiple=flux_multiple,
        packed=4,
        flow=True,
        encoders={"text_encoder": CLIP, "text_encoder_2": T5},
        encode=encode_flux,
        wanted=_wanted_by_transformer,
        given=lambda texts: (texts["text_encoder_2"].width, texts["text_encoder"].width),
    ),
}
"""The pipelines that are supported, by the name of their class."""


class DiffusersAutoencoder(nn.Module):
    """An `AutoencoderKL` or `AutoencoderTiny` as an `Autoencoder`. Its numbers outside are float32."""

    def __init__(self, vae: Any, factor: int) -> None:
        super().__init__()
        self.vae, self.factor = vae, factor
        self.format = LatentFormat(vae.config.scaling_factor, vae.config.shift_factor or 0.0)

    def encode(self, image: Tensor) -> Tensor:
        with torch.no_grad():
            found = self.vae.encode(image.to(self.vae.dtype))
        latents = found.latents if hasattr(found, "latents") else found.latent_dist.mode()
        return self.format.normalize(latents.float())

    def forward(self, x: Tensor) -> Tensor:
        return self.vae.decode(self.format.denormalize(x).to(self.vae.dtype), return_dict=False)[0].float()

    def decode(self, x: Tensor) -> Tensor:
        return self(x)

    def networks(self) -> Mapping[str, nn.Module]:
        return {"VAE": self}


class DiffusersModel(LatentDiffusion):
    """A `LatentDiffusion` that knows how large its images are: about `resolution` pixels squared."""

    def __init__(self, *arguments: Any, resolution: int, multiple: int, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._resolution, self._multiple = resolution, multiple

    @property
    def image_size(self) -> int:
        return self._resolution

    @property
    def size_multiple(self) -> int:
        return self._multiple


@dataclass(frozen=True)
class Checkpoint:
    """The networks of a checkpoint, frozen, and what else decides its images.

    `name` is that of the folder, and `config` the SHA-256 of the configuration of all parts. `networks` are by the
    names of their folders: "vae", "unet" or "transformer", and the text encoders.
    """

    name: str
    config: str
    networks: Mapping[str, Any]
    tokenizers: Mapping[str, Any]
    layout: Layout
    pipeline: str
    options: Mapping[str, bool]
    process: Process
    factor: int

    @property
    def device(self) -> torch.device:
        return next(self._network.parameters()).device

    @property
    def multiple(self) -> int:
        """Return the number of pixels that the sides of images must be multiples of."""
        return self.factor * self.layout.multiple(self._network.config)

    @property
    def resolution(self) -> int:
        """Return the side, in pixels, of the square images that the network was trained on."""
        size = getattr(self._network.config, "sample_size", None) or _DEFAULT_LATENT_SIZE
        return min(self.factor * (min(size) if isinstance(size, list | tuple) else size), LARGEST_RESOLUTION)

    @property
    def distilled(self) -> bool:
        """Return whether the network takes the scale of guidance as an input, as Flux.1 dev does."""
        return bool(getattr(self._network.config, "guidance_embeds", False))

    def default_cfg(self, prompt: str) -> float:
        """Return the scale of guidance for a prompt: 1, which is none, without a prompt, and for Flux.1 schnell."""
        plain = self.pipeline != "FluxPipeline"
        return CFG if self.distilled or (plain and prompt) else 1.0

    def backbone(
        self, prompt: str = "", *, steps: int, cfg: float | None = None, resolution: int | None = None
    ) -> DiffusersModel:
        """Return the model with a prompt, and with sigmas for `steps` steps over the whole process.

        `cfg` (default: `default_cfg`) is the scale of classifier-free guidance, or of distilled guidance. `resolution`
        (default: that of the training) is the side in pixels of a square image; others have as many pixels.
        Raise `InputError` for numbers that cannot work, and `ModelError` if the text encoders fail.
        """
        scale = self.default_cfg(prompt) if cfg is None else cfg
        if not 0 <= scale <= LARGEST_CFG:
            raise InputError(f"cfg is {shown(scale)}: use 0 to {LARGEST_CFG:g}")
        if not prompt and scale != 1 and not self.distilled:
            raise InputError(
                f"cfg is {scale:g}, but it strengthens a prompt, and there is none: leave it out"
            )
        side = self.resolution if resolution is None else resolution
        if not SMALLEST_RESOLUTION <= side <= LARGEST_RESOLUTION:
            raise InputError(
                f"resolution is {shown(side)}: use {SMALLEST_RESOLUTION} to {LARGEST_RESOLUTION}"
            )
        ladder = self.process.ladder(steps, (side // self.multiple) ** 2)
        text, no_text = self._encode(prompt)
        conditions = [text if prompt else no_text]
        if scale != 1 and not self.distilled:
            conditions = [no_text, text]
        network, process, layout, factor = self._network, self.process, self.layout, self.factor
        dtype = next(network.parameters()).dtype

        def denoise(x: Tensor, sigma: float) -> Tensor:
            told = _batched(conditions, len(x), dtype)
            inputs = process.network_input(x, sigma).to(dtype).repeat(len(conditions), 1, 1, 1)
            out = layout.run(network, Call(inputs, ladder.timestep(sigma), told, factor, scale)).float()
            if len(conditions) > 1:
                without, out = out.chunk(2)
                out = torch.lerp(without, out, scale)
            return process.pred_xstart(x, out, sigma)

        return DiffusersModel(
            denoise,
            ladder.sigmas,
            DiffusersAutoencoder(self.networks["vae"], factor),
            self.device,
            channels=self.networks["vae"].config.latent_channels,
            resolution=side,
            multiple=self.multiple,
        )

    @property
    def _network(self) -> Any:
        return self.networks[self.layout.part]

    def _encode(self, prompt: str) -> tuple[Condition, Condition]:
        """Return what the network is told of the prompt, and of no text."""
        parts: dict[str, Any] = {self.layout.part: self._network, "vae": None}
        # For its signature only: it takes no step.
        parts["scheduler"] = (
            library_class("diffusers", "FlowMatchEulerDiscreteScheduler")()
            if self.layout.flow
            else library_class("diffusers", "EulerDiscreteScheduler")(steps_offset=1)
        )
        for name in self.layout.encoders:
            parts[name] = self.networks.get(name)
            parts[_tokenizer(name)] = self.tokenizers.get(name)
        if self.pipeline == "StableDiffusionPipeline":
            parts |= {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        pipeline_class = library_class("diffusers", self.pipeline)
        with quiet(), torch.no_grad(), failures(f"the text encoders of {printable(self.name)} fail"):
            pipeline = pipeline_class(**parts, **self.options)
            return self.layout.encode(pipeline, prompt, self.device)


def load_checkpoint(
    path: str | Path, device: torch.device | str = "cpu", dtype: torch.dtype | None = None
) -> Checkpoint:
    """Return the checkpoint in a folder, with `model_index.json`, on a device.

    Only safetensors are read, no code is run, and no connection is opened. `dtype` defaults to float32 on the CPU, and
    to bfloat16 elsewhere. Raise `ModelError` for a folder that is incomplete or damaged, whose parts do not fit each
    other, or whose pipeline is not supported.
    """
    require_libraries()
    folder = Folder(Path(path).expanduser())
    device = torch.device(device)
    dtype = dtype or (torch.float32 if device.type == "cpu" else torch.bfloat16)
    if not (folder.path / INDEX).is_file():
        raise ModelError(f"{folder} is no diffusers checkpoint: it has no {INDEX}")
    index = folder.json(INDEX)
    pipeline = index.get("_class_name")
    if not isinstance(pipeline, str) or pipeline not in LAYOUTS:
        raise ModelError(
            f"{folder} has the pipeline {shown(pipeline)}, which is not supported: use one of {', '.join(LAYOUTS)}"
        )
    layout = LAYOUTS[pipeline]
    vae_class = _class_of(index, "vae", _AUTOENCODERS, folder)
    _class_of(index, layout.part, (layout.network,), folder)
    texts = {}
    for name, classes in layout.encoders.items():
        if name in layout.optional and index.get(name, [None, None]) == [None, None]:
            continue
        kind = _class_of(index, name, classes, folder)
        texts[name] = TextEncoder.of(kind, folder.part(name), folder.part(_tokenizer(name)))
    process = read_process(folder.part("scheduler"), layout.flow)
    vae_part, part = folder.part("vae"), folder.part(layout.part)
    vae_config, config = vae_part.config(), part.config()
    factor = _try_on(folder, layout, vae_class, vae_config, config, {k: t.config for k, t in texts.items()})

    networks: dict[str, Any] = {
        "vae": _load(vae_class, vae_part, vae_config, dtype),
        layout.part: _load(layout.network, part, config, dtype),
    }
    tokenizers = {name: text.load_tokenizer() for name, text in texts.items()}
    networks |= {name: text.load(dtype) for name, text in texts.items()}
    if vae_class == "AutoencoderKL":
        # Its decoder would keep 11 GiB for the backward pass at 1024 pixels.
        networks["vae"].enable_gradient_checkpointing()
    options = {
        name: bool(index[name]) for name in ("force_zeros_for_empty_prompt",) if index.get(name) is not None
    }
    described = {
        "pipeline": pipeline,
        "options": options,
        "vae": vae_config,
        layout.part: config,
        "process": asdict(process),
        "texts": {name: asdict(text.config) for name, text in texts.items()},
    }
    return Checkpoint(
        name=folder.path.resolve().name[:200] or "checkpoint",
        config=hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest(),
        networks={name: network.to(device) for name, network in networks.items()},
        tokenizers=tokenizers,
        layout=layout,
        pipeline=pipeline,
        options=options,
        process=process,
        factor=factor,
    )


def _tokenizer(encoder: str) -> str:
    """Return the folder of the tokenizer of a text encoder: tokenizer_2 of text_encoder_2."""
    return encoder.replace("text_encoder", "tokenizer")


def _class_of(index: Mapping[str, Any], part: str, supported: tuple[str, ...], folder: Folder) -> str:
    """Return the class of a part. Raise `ModelError` unless it is one of `supported`, and its folder is there."""
    entry = index.get(part)
    name = entry[1] if isinstance(entry, list) and len(entry) == 2 else None
    if name not in supported:
        raise ModelError(
            f"{folder} has the {part} {shown(name)}, which is not supported: it must be {' or '.join(supported)}"
        )
    folder.part(part)
    return str(name)


def _try_on(
    folder: Folder,
    layout: Layout,
    vae_class: str,
    vae_config: dict[str, Any],
    config: dict[str, Any],
    texts: Mapping[str, TextConfig],
) -> int:
    """Return the pixels for each latent pixel, from a run of all parts without memory.

    Raise `ModelError` if they do not fit each other.
    """
    vae, network = _build(vae_class, vae_config, folder), _build(layout.network, config, folder)
    config = network.config
    channels, taken = vae.config.latent_channels, network.config.in_channels / layout.packed
    if taken != channels:
        raise ModelError(
            f"{folder} cannot work: its VAE has {channels} latent channels, and its {layout.part} takes {taken:g}"
            + (" (it is for inpainting)" if taken == 2 * channels + 1 else "")
        )
    if getattr(vae.config, "latents_mean", None) is not None:
        raise ModelError(f"{folder} has a VAE with latents_mean, which is not supported")
    if getattr(config, "time_cond_proj_dim", None) is not None:
        raise ModelError(f"{folder} is distilled as a latent consistency model, which is not supported")
    with failures(f"the {layout.part} of {folder} is not of its pipeline"):
        (width, pooled), (given_width, given_pooled) = layout.wanted(config), layout.given(texts)
    for what, wants, gives in (("token", width, given_width), ("text", pooled, given_pooled)):
        if gives is not None and gives != wants:
            raise ModelError(
                f"{folder} cannot work: its text encoders give {gives} numbers for each {what}, and its "
                f"{layout.part} takes {wants}"
            )
    with (
        quiet(),
        torch.no_grad(),
        failures(f"the parts of {folder} do not fit each other"),
        torch.device("meta"),
    ):
        autoencoder = DiffusersAutoencoder(vae, 1)
        x = autoencoder.encode(torch.empty(1, 3, _PROBE, _PROBE))
        factor = _PROBE // x.shape[-1]
        told = Condition(torch.empty(1, 4, width), None if pooled is None else torch.empty(1, pooled))
        out = layout.run(network, Call(x, 1.0, told, factor))
        picture = autoencoder.decode(out)
    if out.shape != x.shape or picture.shape != (1, 3, _PROBE, _PROBE):
        raise ModelError(f"{folder} cannot work: its parts do not agree on sizes and channels")
    return factor


def _build(name: str, config: dict[str, Any], folder: Folder) -> Any:
    """Return a network of diffusers that takes no memory."""
    network_class = library_class("diffusers", name)
    with quiet(), failures(f"the configuration of {name} in {folder} cannot be used"):
        return without_memory(lambda: network_class.from_config(config))


def _load(name: str, folder: Folder, config: dict[str, Any], dtype: torch.dtype) -> Any:
    """Return a frozen network of diffusers. Raise `ModelError` unless the weights fit its configuration."""
    network = _build(name, config, folder)
    expected = network.state_dict()
    state = {_present_name(key): value for key, value in folder.weights().items()}
    if faults := misfit(signature(state), signature(expected)):
        raise ModelError(f"{folder} does not fit its config.json: {faults}")
    require_numbers(state, expected, str(folder))
    network.load_state_dict({key: owned(value, dtype) for key, value in state.items()}, assign=True)
    if any(buffer.is_meta for buffer in network.buffers()):
        raise ModelError(f"{folder} lacks numbers that its class does not store: it is not supported")
    return network.eval().requires_grad_(False)


def _present_name(key: str) -> str:
    """Return the name that diffusers gives today to a weight of the attention in older autoencoders."""
    for old, new in (("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0")):
        for kind in ("weight", "bias"):
            if key.endswith(f".attentions.0.{old}.{kind}"):
                return f"{key.removesuffix(f'{old}.{kind}')}{new}.{kind}"
    return key


def _batched(conditions: list[Condition], batch: int, dtype: torch.dtype) -> Condition:
    """Return the conditions one after the other, each for `batch` images."""

    def batched(parts: list[Tensor]) -> Tensor:
        return torch.cat([part.to(dtype).expand(batch, *part.shape[1:]) for part in parts])

    pooled = [one.pooled for one in conditions if one.pooled is not None]
    return Condition(batched([one.context for one in conditions]), batched(pooled) if pooled else None)
