"""The pocket networks that ship with the package, read by the very loaders of the large ones."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..models.bundle import Models
from ..models.clip import CLIPEnsemble, load_clip, normalize
from ..models.ddpm import PixelDDPM
from ..models.ddpm_checkpoint import load_ddpm
from ..models.flux import Flux, load_flux
from ..models.taesd import TAESD, load_taesd
from ..models.vit import ViT, load_vit
from ..presets import IMAGE_DEFAULT, TEXT_DEFAULT
from .files import WEIGHTS as WEIGHTS
from .judge import Judge, load_judge


def pocket_ddpm(folder: Path = WEIGHTS, dtype: torch.dtype = torch.float32) -> PixelDDPM:
    """The U-Net of 64x64 scenes with its diffusion process."""
    return load_ddpm(folder / "unet.safetensors", dtype=dtype)


def pocket_vit(folder: Path = WEIGHTS, dtype: torch.dtype = torch.float32) -> ViT:
    """The ViT whose keys tell structure and whose [CLS] tells style."""
    return load_vit(folder / "vit.safetensors", dtype=dtype)


def pocket_clip(folder: Path = WEIGHTS, dtype: torch.dtype = torch.float32) -> CLIPEnsemble:
    """An ensemble of the one pocket CLIP."""
    return CLIPEnsemble([load_clip(folder / "clip.safetensors", name="pocket", dtype=dtype)])


def pocket_autoencoder(folder: Path = WEIGHTS) -> TAESD:
    """The autoencoder between images and the latents of the flow model."""
    return load_taesd(folder / "taesd.safetensors")


def pocket_flux(folder: Path = WEIGHTS) -> Flux:
    """The flow model of latents, conditioned on `text_embeddings`."""
    return load_flux(folder / "flux.safetensors")


def text_embeddings(clip: CLIPEnsemble, texts: Sequence[str]) -> Tensor:
    """[n, D] embeddings of the ensemble's first CLIP, scaled to a root mean square of 1."""
    embeddings = normalize(clip.models[0].encode_text(list(texts)))
    return embeddings * embeddings.shape[1] ** 0.5


def pocket_features(folder: Path = WEIGHTS, dtype: torch.dtype = torch.float32) -> tuple[ViT, CLIPEnsemble]:
    """The networks that the losses look through."""
    return pocket_vit(folder, dtype), pocket_clip(folder, dtype)


def pocket_models(folder: Path = WEIGHTS, dtype: torch.dtype = torch.float32) -> Models:
    """All that a translation needs."""
    return Models(pocket_ddpm(folder, dtype), *pocket_features(folder, dtype), TEXT_DEFAULT, IMAGE_DEFAULT)


def pocket_judge(folder: Path = WEIGHTS) -> Judge:
    """The classifier that measures results; no loss uses it."""
    return load_judge(folder / "judge.safetensors")
