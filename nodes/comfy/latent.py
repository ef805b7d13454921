"""A ComfyUI MODEL and VAE as the core sees them: noise levels, latents, and an `Autoencoder`."""

import copy
import logging
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import comfy.model_sampling
import torch
from torch import Tensor, nn

from ...diffuseit.errors import InputError
from ...diffuseit.models.latent import Sigmas
from ...diffuseit.performance.recompute import recomputed_blocks
from ..types import Network
from .devices import static

# This module brings timm and open_clip, which must not be loaded with the pack.
if TYPE_CHECKING:
    from ...diffuseit.performance.memory import Footprint

_FROM_PICTURES = tuple(
    getattr(comfy.model_sampling, name)
    for name in ("IMG_TO_IMG", "IMG_TO_IMG_FLOW")
    if hasattr(comfy.model_sampling, name)
)
"""What predicts another picture (depth, a larger one), and not the image in its noise."""

_KEPT = 3
"""How many times the memory of decoding a backward pass needs, about: that of a KL decoder."""


@dataclass(frozen=True, eq=False)
class LatentModel:
    """A MODEL in a run: its patcher, and the `shape` of its latents, [B, C, H, W] or [B, C, 1, H, W]."""

    patcher: Any
    shape: tuple[int, ...]

    @property
    def device(self) -> torch.device:
        """Return where it computes."""
        device: torch.device = self.patcher.load_device
        return device

    @property
    def size(self) -> tuple[int, int]:
        """Return (height, width) of the latents."""
        return self.shape[-2], self.shape[-1]

    def check(self, parts: int) -> None:
        """Raise `InputError` for a model, or latents of `parts` kinds, that the losses cannot see."""
        if isinstance(self.patcher.get_model_object("model_sampling"), _FROM_PICTURES):
            raise InputError(
                "this model turns one picture into another (depth, a larger one): there is no noise to guide it in"
            )
        if parts > 1:
            raise InputError("these latents have sound beside the video: give latents of a picture")
        if len(self.shape) not in (4, 5):
            raise InputError("these are no latents of a picture: losses see pictures only")
        if len(self.shape) == 5 and self.shape[2] != 1:
            raise InputError(
                f"these latents have {self.shape[2]} frames: give one, since losses see pictures"
            )

    def sigmas(self, values: Tensor) -> Sigmas:
        """Return the noise levels of a run. Raise `InputError` if they do not fall."""
        sampling = self.patcher.get_model_object("model_sampling")
        flow = isinstance(sampling, comfy.model_sampling.CONST)
        scale = float(getattr(sampling, "noise_scale", 1.0)) if flow else 1.0
        return Sigmas(tuple(dict.fromkeys(values.flatten().tolist())), flow, scale)

    def to_core(self, x: Tensor) -> Tensor:
        """Return latents of the model as [B, C, H, W] in float32, which autograd accepts."""
        flat = x[:, :, 0] if x.ndim == 5 else x
        return flat.clone().float() if flat.is_inference() else flat.float()

    def to_comfy(self, x: Tensor) -> Tensor:
        """Return [B, C, H, W] in the shape of the model's latents."""
        return x.unsqueeze(2) if len(self.shape) == 5 else x

    def autoencoder(self, vae: Any | None) -> "PixelAutoencoder | VAEAutoencoder":
        """Return what shows the model's latents to the losses. Raise `InputError` if `vae` does not fit them."""
        latent_format = _without_inference(self.patcher.get_model_object("latent_format"))
        channels = self.shape[1]
        if vae is None:
            if channels == 3 and getattr(latent_format, "spacial_downscale_ratio", None) == 1:
                return PixelAutoencoder(latent_format)
            raise InputError(
                "vae is not connected: connect the VAE of the model, or a tiny one (taesd, taesdxl, taef1), to it"
            )
        if getattr(vae, "first_stage_model", None) is None:
            raise InputError("this VAE has no weights: its checkpoint has none; connect Load VAE")
        if vae.latent_channels != channels:
            raise InputError(
                f"this VAE is for another model: its latents have {vae.latent_channels} channels, not {channels}"
            )
        if vae.output_channels < 3:
            raise InputError("this VAE makes no pictures: losses see pictures only")
        factor = vae.spacial_compression_decode()
        wanted = getattr(latent_format, "spacial_downscale_ratio", factor)
        if factor != wanted and latent_format.latent_channels == channels:
            raise InputError(
                f"this VAE is for another model: it enlarges latents {factor} times, not {wanted} times"
            )
        return VAEAutoencoder(vae, latent_format, self)


@dataclass(frozen=True, eq=False)
class PixelAutoencoder:
    """The `Autoencoder` of a model that works on pixels."""

    latent_format: Any
    factor = 1
    guest = None

    def encode(self, image: Tensor) -> Tensor:
        x: Tensor = self.latent_format.process_in(image)
        return x

    encode_in_place = encode

    def decode(self, x: Tensor) -> Tensor:
        image: Tensor = self.latent_format.process_out(x)
        return image

    def networks(self) -> Mapping[str, nn.Module]:
        return {}

    def footprint(self, size: tuple[int, int], batch: int, recompute: bool) -> "Footprint":
        """Return the bytes of decoding latents of `size`."""
        from ...diffuseit.performance.memory import Footprint

        return Footprint(0, 0)

    def release(self, recompute: bool = False) -> None:
        """Forget what a run has left."""


class VAEAutoencoder:
    """A VAE of ComfyUI as the core's `Autoencoder` for the latents of `model`."""

    def __init__(self, vae: Any, latent_format: Any, model: LatentModel):
        self.vae, self.latent_format, self._model = vae, latent_format, model
        self.factor = int(vae.spacial_compression_decode())
        patcher = static(vae.patcher)
        self._network = VAENetwork(vae, patcher, latent_format, model)
        self.guest: Network[Any] | None = Network(self._network, (patcher,))

    def encode(self, image: Tensor) -> Tensor:
        with torch.inference_mode():
            pixels = image.add(1).div(2).movedim(1, -1).cpu()
            # One by one, since a video VAE takes a batch for frames.
            latents = torch.cat([self.vae.encode(one) for one in pixels.split(1)]).float()
            latents = latents[:, :, 0] if latents.ndim == 5 else latents
            x = self.latent_format.process_in(self._model.to_comfy(latents))
        return self._model.to_core(x).to(image.device)

    def encode_in_place(self, image: Tensor) -> Tensor:
        """Encode one image [1, 3, H, W] with the network where it is, so that ComfyUI moves no model."""
        return self._network.encode(image)

    def decode(self, x: Tensor) -> Tensor:
        image: Tensor = self._network(x)
        return image

    def networks(self) -> Mapping[str, nn.Module]:
        return {"VAE": self._network}

    def footprint(self, size: tuple[int, int], batch: int, recompute: bool) -> "Footprint":
        """Return the bytes of decoding latents of `size`, and of its backward pass."""
        from ...diffuseit.performance.memory import Footprint, decoder_footprint

        latents = self._latents(size, batch)
        try:
            return decoder_footprint(self._network.network, latents, recompute and self._recomputes)
        except Exception:
            logging.info("DiffuseIT: this VAE cannot be measured without running it", exc_info=True)
            kept = int(_KEPT * self.vae.memory_used_decode(latents.shape, self.vae.vae_dtype))
            return Footprint(kept, kept)

    def release(self, recompute: bool = False) -> None:
        """Forget what a run has left, and say whether blocks are computed again from now on, if they can be."""
        self._network.recompute, self._network.exact = recompute and self._recomputes, None

    @property
    def _recomputes(self) -> bool:
        """Whether the blocks can be computed again. Those of video VAEs keep features of earlier calls.

        The VAE of Wan and Qwen-Image keeps none of a single frame.
        """
        return self.vae.latent_dim == 2 or type(self._network.network).__module__ == "comfy.ldm.wan.vae"

    def _latents(self, size: tuple[int, int], batch: int) -> Tensor:
        """Return latents without contents, as the VAE takes them."""
        latents = torch.empty(batch, self._model.shape[1], *size, dtype=self.vae.vae_dtype, device="meta")
        return self._network.shaped(latents)


class VAENetwork(nn.Module):
    """Decodes latents of the diffusion model [B, C, h, w] to images [B, 3, H, W], not clamped, and encodes images.

    Both are differentiable. A network of half precision that overflows is run again in float32, and from then on.
    """

    def __init__(self, vae: Any, patcher: Any, latent_format: Any, model: LatentModel):
        super().__init__()
        self.network = patcher.model
        self.exact: nn.Module | None = None
        self.latent_format, self.dtype, self.device = latent_format, vae.vae_dtype, patcher.load_device
        self.model = model
        self.frames = vae.latent_dim == 3
        # 0 becomes the middle of [0, 1] if the network gives [-1, 1], and stays if it gives [0, 1].
        self.signed = float(vae.process_output(torch.zeros(1))) > 0.25
        self.process_input = vae.process_input
        self.recompute = False

    def forward(self, x: Tensor) -> Tensor:
        latents = self.shaped(self.latent_format.process_out(self.model.to_comfy(x))).to(self.device)
        return self._finite(lambda network, dtype: self._decode(network, latents.to(dtype), x), x)

    def encode(self, image: Tensor) -> Tensor:
        """Return the latents of the diffusion model [1, C, h, w] of an image [1, 3, H, W] in [-1, 1]."""
        pixels = self.process_input((image + 1) / 2).to(self.device)
        pixels = pixels.unsqueeze(2) if self.frames else pixels

        def encoded(network: nn.Module, dtype: torch.dtype) -> Tensor:
            latents: Tensor = network.encode(pixels.to(dtype)).float()  # type: ignore[operator]
            latents = latents[:, :, 0] if latents.ndim == 5 else latents
            x = self.latent_format.process_in(self.model.to_comfy(latents))
            return self.model.to_core(x).to(image.device)

        return self._finite(encoded, image)

    def _finite(self, run: Callable[[nn.Module, torch.dtype], Tensor], given: Tensor) -> Tensor:
        """Return `run` of the network and its dtype, in float32 if the result is not finite and `given` is."""
        if self.exact is not None:
            return run(self.exact, torch.float32)
        found = run(self.network, self.dtype)
        if self.dtype.itemsize >= 4 or found.isfinite().all() or not given.isfinite().all():
            return found
        logging.warning("DiffuseIT: the VAE overflows in %s; it runs in float32 now", self.dtype)
        self.exact = copy.deepcopy(self.network).float()
        return run(self.exact, torch.float32)

    def _decode(self, network: nn.Module, latents: Tensor, x: Tensor) -> Tensor:
        with recomputed_blocks(network) if self.recompute else nullcontext():
            image = network.decode(latents).to(x.device, torch.float32)  # type: ignore[operator]
        image = (image[:, :, 0] if image.ndim == 5 else image)[:, :3]
        return image if self.signed else image * 2 - 1

    def shaped(self, x: Tensor) -> Tensor:
        """Return latents with a frame if the VAE is one of videos, and without if it is not."""
        if self.frames and x.ndim == 4:
            return x.unsqueeze(2)
        return x[:, :, 0] if x.ndim == 5 and not self.frames else x


def _without_inference(latent_format: Any) -> Any:
    """Return a copy whose tensors autograd accepts: means and deviations that were made under inference mode."""
    thawed = copy.copy(latent_format)
    for name, value in vars(latent_format).items():
        if isinstance(value, Tensor) and value.is_inference():
            setattr(thawed, name, value.clone())
    return thawed
