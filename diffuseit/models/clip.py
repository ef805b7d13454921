"""CLIP networks: unit embeddings of crops and prompts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..errors import InputError, ModelError
from ..schema import printable
from .checkpoint import build_from, read_checkpoint, read_config, require_kind
from .clip_config import OPENAI_MEAN, OPENAI_STD, CLIPConfig, infer_clip
from .crops import Crops, apply_crops
from .precision import at_least_float32
from .resize import center_crop, resize, resize_shorter
from .templates import fill_templates
from .tokenizer import Tokenizer, load_siglip_tokenizer, openai_tokenizer

_LONGEST_PROMPT = 10_000
"""Characters; the networks read the first 77 tokens or fewer."""

_EXTRAS = ("input_resolution", "context_length", "vocab_size")
"""Numbers that OpenAI's files keep beside the weights."""

_SCALARS = {"logit_scale", "logit_bias"}


def normalise(vectors: Tensor) -> Tensor:
    """Unit vectors along the last dimension; zero stays zero."""
    return F.normalize(vectors, dim=-1)


class CLIP(nn.Module):
    """One frozen open_clip network with its tokenizer and its way to take pictures."""

    # open_clip's CLIP or CustomTextCLIP.
    model: Any
    # What `load_clip` built it from.
    config: CLIPConfig | None
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Tokenizer,
        *,
        name: str,
        mean: tuple[float, float, float] = OPENAI_MEAN,
        std: tuple[float, float, float] = OPENAI_STD,
        antialias: bool = False,
        squash: bool = False,
    ) -> None:
        super().__init__()
        self.model = model.float().eval().requires_grad_(False)
        self.config = None
        self.squash = squash
        self.tokenizer = tokenizer
        self.name = name
        self.antialias = antialias
        size = self.model.visual.image_size
        self.image_size: int = size if isinstance(size, int) else size[0]
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def cast(self, dtype: torch.dtype) -> CLIP:
        """This network with weights of `dtype`; what comes before them and the embeddings stay float32."""
        self.model.to(dtype)
        return self

    @property
    def parts_to_compile(self) -> list[nn.Module]:
        """What `torch.compile` may take as a whole."""
        return [self.model.visual]

    def encode_image(
        self, image: Tensor, crops: Crops | None = None, crop_batch: int | None = None
    ) -> Tensor:
        """Pictures [B, 3, H, W] in [-1, 1] -> unit embeddings [B, n, D] of their n crops; differentiable.

        Without `crops` n = 1: the shorter side is resized to the network's input and the center cut out, or both
        sides are (`squash`), as the network was trained.
        With `crop_batch` no more crops are in memory at a time; the way back computes them again.
        """
        batch = len(image)
        image = 0.5 * image + 0.5
        if crops is None:
            if self.squash:
                image = resize(image, (self.image_size, self.image_size), antialias=self.antialias)
            else:
                image = resize_shorter(image, self.image_size, antialias=self.antialias)
                image = center_crop(image, self.image_size)
        else:
            image = apply_crops(image, crops, self.image_size, antialias=self.antialias)
        pixels = ((image - self.mean) / self.std).to(self.model.logit_scale.dtype)
        if crop_batch is None or len(pixels) <= crop_batch:
            embeddings = self.model.encode_image(pixels)
        else:
            parts = [
                checkpoint(self.model.encode_image, part, use_reentrant=False)
                for part in pixels.split(crop_batch)
            ]
            embeddings = torch.cat(parts)
        return normalise(at_least_float32(embeddings).view(batch, -1, embeddings.shape[-1]))

    def forward(self, image: Tensor, crops: Crops | None = None, crop_batch: int | None = None) -> Tensor:
        """`encode_image`."""
        return self.encode_image(image, crops, crop_batch)

    @torch.no_grad()
    def encode_text(self, texts: list[str]) -> Tensor:
        """Un-normalized embeddings [n, D] of n texts as they are."""
        return at_least_float32(self.model.encode_text(self.tokenizer(texts).to(self.mean.device)))

    @torch.no_grad()
    def encode_prompt(self, text: str) -> Tensor:
        """Unit embedding [D] of a prompt: normalized mean of un-normalized embeddings over 79 templates."""
        if not text.strip():
            raise InputError("the prompt is empty: say in a few words what the picture should become")
        if len(text) > _LONGEST_PROMPT:
            raise InputError(f"the prompt has {len(text)} characters: at most {_LONGEST_PROMPT} are read")
        return normalise(self.encode_text(fill_templates(text)).mean(0))


class CLIPEnsemble(nn.Module):
    """Any number of CLIP networks; the losses average over them."""

    def __init__(self, models: Iterable[CLIP]) -> None:
        super().__init__()
        self._models = nn.ModuleList(models)
        if not len(self._models):
            raise InputError("an ensemble needs at least one CLIP")

    @property
    def models(self) -> list[CLIP]:
        """The networks, in order."""
        return list(self._models)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[CLIP]:
        return iter(self.models)

    def __len__(self) -> int:
        return len(self._models)


def load_clip(
    source: Mapping[str, Tensor] | str | os.PathLike[str],
    *,
    name: str | None = None,
    config: CLIPConfig | None = None,
    quick_gelu: bool = True,
    antialias: bool = False,
    dtype: torch.dtype = torch.float32,
) -> CLIP:
    """Return a frozen CLIP from a state dict or a file. Nothing is downloaded.

    What it is tells `config` (`clip_config("ViT-B-32", "openai")` for open_clip's own files), else the JSON under
    "config" in a safetensors file's metadata, else the shapes, if they are in OpenAI's layout (`quick_gelu=False` for
    networks in that layout trained with the exact GELU). A tokenizer other than OpenAI's lies in a folder beside the
    file. Weights are copied, and cast to `dtype` whatever the file holds. Raise `ModelError` for a file that is
    missing, damaged, of another kind or of another shape than its configuration.
    """
    metadata: Mapping[str, str] = {}
    folder = Path()
    if isinstance(source, Mapping):
        where, fallback, state = "this state dict", "CLIP", dict(source)
    else:
        state, metadata = read_checkpoint(source)
        path = Path(source).expanduser()
        where, fallback, folder = printable(str(source)), path.stem[:200], path.parent
    require_kind(state, "clip-openai", where)
    config = config or read_config(CLIPConfig, metadata, where)
    if config is None:
        try:
            config = infer_clip(state, fallback, quick_gelu)
        except ModelError as error:
            raise ModelError(f"{where} is {error}") from error
    tokenizer: Tokenizer = (
        load_siglip_tokenizer(config.tokenizer_repo, folder, config.context_length, config.vocab_size)
        if config.tokenizer_repo
        else openai_tokenizer(config.context_length)
    )
    clip = CLIP(
        build_from(config.build, _weights(state), where, "the CLIP"),
        tokenizer,
        name=name or config.name,
        mean=config.mean,
        std=config.std,
        antialias=antialias,
        squash=config.resize == "squash",
    )
    clip.config = config
    return clip.cast(dtype)


def _weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict without OpenAI's extras; files differ in whether scales are numbers or vectors of one number."""
    return {
        key: value.reshape(()) if key in _SCALARS and value.numel() == 1 else value
        for key, value in state.items()
        if key not in _EXTRAS
    }
