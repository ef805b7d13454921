"""CLIP networks: unit embeddings of crops and prompts."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol

import open_clip
import torch
import torch.nn.functional as F
from open_clip.model import build_model_from_openai_state_dict
from open_clip.pretrained import get_pretrained_cfg
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..errors import InputError, ModelError
from .checkpoint import config_from_json, misfit, read_checkpoint, read_config, require_kind, signature
from .crops import Crops, apply_crops
from .hub.catalog import tokenizer_folder
from .precision import at_least_float32
from .resize import center_crop, resize, resize_shorter
from .templates import fill_templates

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
FILE_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
_VOCABULARY = 49408  # of open_clip's SimpleTokenizer
_SCALARS = {"logit_scale", "logit_bias"}


class Tokenizer(Protocol):
    """Texts -> token numbers [n, context]."""

    def __call__(self, texts: list[str]) -> Tensor: ...


@dataclass(frozen=True)
class CLIPConfig:
    """open_clip's `model_cfg` and the way pictures enter; JSON under "config" in a file's metadata."""

    name: str
    model_cfg: dict[str, Any]  # embed_dim, vision_cfg, text_cfg; quick_gelu, custom_text where they are set
    mean: tuple[float, float, float] = OPENAI_MEAN
    std: tuple[float, float, float] = OPENAI_STD
    resize: Literal["shortest", "squash"] = "shortest"  # how a whole picture becomes a square

    @property
    def tokenizer_repo(self) -> str | None:
        """The hub repository whose tokenizer is needed; None for OpenAI's, which open_clip has."""
        return self.model_cfg.get("text_cfg", {}).get("hf_tokenizer_name")

    def to_json(self) -> dict[str, Any]:
        """As a dict of plain JSON values."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> CLIPConfig:
        """From `to_json`'s dict; raises ModelError on unknown or missing fields."""
        return config_from_json(cls, values, "a CLIP")

    def build(self) -> nn.Module:
        """The open_clip network, randomly initialised."""
        cfg = deepcopy(self.model_cfg)
        text_cfg = cfg.get("text_cfg", {})
        if "hf_model_name" in text_cfg:
            raise ModelError(f"{self.name}: text towers of transformers cannot be loaded from a file")
        if not self.tokenizer_repo and text_cfg.get("vocab_size", _VOCABULARY) < _VOCABULARY:
            raise ModelError(f"{self.name}: the standard tokenizer needs a vocab_size of {_VOCABULARY}")
        network = open_clip.CustomTextCLIP if cfg.pop("custom_text", False) else open_clip.CLIP
        try:
            return network(**cfg)
        except (TypeError, KeyError) as error:
            raise ModelError(f"{self.name}: open_clip cannot build this model_cfg ({error})") from error


def normalise(vectors: Tensor) -> Tensor:
    """Unit vectors along the last dimension; zero stays zero."""
    return F.normalize(vectors, dim=-1)


class CLIP(nn.Module):
    """One frozen open_clip network with its tokenizer and its way to take pictures."""

    model: Any  # open_clip's CLIP or CustomTextCLIP
    config: (
        CLIPConfig | None
    )  # what it was built from; None for OpenAI's layout and for open_clip's own download
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

        Without `crops` n = 1: the shorter side is resized to the network's input and the centre cut out, or both
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
        """Un-normalised embeddings [n, D] of n texts as they are."""
        return at_least_float32(self.model.encode_text(self.tokenizer(texts).to(self.mean.device)))

    @torch.no_grad()
    def encode_prompt(self, text: str) -> Tensor:
        """Unit embedding [D] of a prompt: normalised mean of un-normalised embeddings over 79 templates."""
        if not text.strip():
            raise InputError("the prompt is empty: say in a few words what the picture should become")
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
    pretrained: str | os.PathLike[str] | None = None,
    *,
    name: str | None = None,
    config: CLIPConfig | None = None,
    quick_gelu: bool = True,
    antialias: bool = False,
    dtype: torch.dtype = torch.float32,
    cache_dir: str | os.PathLike[str] | None = None,
) -> CLIP:
    """A frozen CLIP, in one of four ways.

    - `load_clip("ViT-B-32-quickgelu", "openai")`: an open_clip architecture and a tag (download) or a file;
    - `load_clip("clip.safetensors")`: a file whose metadata holds a `CLIPConfig` as JSON under "config";
    - `load_clip("clip.safetensors", config=clip_config("ViT-B-32-quickgelu", "openai"))`: open_clip's own files, or
      a state dict; a tokenizer other than OpenAI's lies in a folder beside the file;
    - `load_clip("ViT-B-32.pt")` or a state dict: OpenAI's original key layout, architecture from the shapes
      (`quick_gelu=False` for networks in that layout trained with the exact GELU).

    Weights are cast to `dtype` whatever the file holds.
    """
    if isinstance(source, Mapping):
        if config is not None:
            require_kind(source, "clip-openai", "this state dict")
            return _from_config(source, config, "this state dict", name, antialias, Path()).cast(dtype)
        return _from_openai(source, name or "CLIP", "this state dict", quick_gelu, antialias).cast(dtype)
    path = Path(source).expanduser()
    if pretrained is not None or not (path.suffix in FILE_SUFFIXES or path.is_file()):
        return _from_architecture(str(source), pretrained, name, antialias, cache_dir).cast(dtype)
    state, metadata = read_checkpoint(path)
    require_kind(state, "clip-openai", str(path))
    if config is None and (values := read_config(metadata, str(path))) is not None:
        config = CLIPConfig.from_json(values)
    if config is not None:
        return _from_config(state, config, str(path), name, antialias, path.parent).cast(dtype)
    return _from_openai(state, name or path.stem, str(path), quick_gelu, antialias).cast(dtype)


@lru_cache(maxsize=4)
def _simple_tokenizer(context_length: int) -> SimpleTokenizer:
    return SimpleTokenizer(context_length=context_length)


def _hub_tokenizer(repo: str, context_length: int, options: Mapping[str, Any], folder: Path) -> Tokenizer:
    """A tokenizer of transformers, from files in `folder` and never from the network."""
    home = folder / tokenizer_folder(repo)
    if not (home / "tokenizer.json").is_file():
        raise ModelError(
            f"the tokenizer of {repo} is missing: save tokenizer.json, tokenizer_config.json and "
            f"special_tokens_map.json of https://huggingface.co/{repo} in {home}"
        )
    try:
        return HFTokenizer(str(home), context_length=context_length, **options)
    except ImportError as error:
        raise ModelError(f"the tokenizer of {repo} needs transformers: pip install transformers") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"the tokenizer in {home} is damaged, download it again ({error})") from error


def _load(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    expected = model.state_dict()
    # Files differ in whether these two are numbers or vectors of one number.
    scalars = {
        key: state[key].reshape(expected[key].shape) for key in _SCALARS & state.keys() & expected.keys()
    }
    state = {**state, **scalars}
    if faults := misfit(signature(state), signature(expected)):
        raise ModelError(f"{source} does not fit the CLIP it should be: {faults}")
    model.load_state_dict(state)


def _from_openai(
    state: Mapping[str, Tensor], name: str, source: str, quick_gelu: bool, antialias: bool
) -> CLIP:
    require_kind(state, "clip-openai", source)
    extras = ("input_resolution", "context_length", "vocab_size")
    state = {key: value for key, value in state.items() if key not in extras}
    try:
        model = build_model_from_openai_state_dict(
            dict(state), quick_gelu=quick_gelu, cast_dtype=torch.float32
        )
    except (KeyError, AssertionError, RuntimeError) as error:
        raise ModelError(
            f"{source} is a CLIP, but not in OpenAI's layout ({error}): name its architecture"
        ) from error
    model.float()
    _load(model, state, source)  # again: the builder rounds float32 weights to half precision on the way
    return CLIP(model, _simple_tokenizer(model.context_length), name=name, antialias=antialias)


def _from_config(
    state: Mapping[str, Tensor],
    config: CLIPConfig,
    source: str,
    name: str | None,
    antialias: bool,
    folder: Path,
) -> CLIP:
    model = config.build()
    _load(model, state, source)
    text_cfg = config.model_cfg.get("text_cfg", {})
    context: int = model.context_length  # type: ignore[assignment]
    tokenizer: Tokenizer = (
        _hub_tokenizer(config.tokenizer_repo, context, text_cfg.get("tokenizer_kwargs", {}), folder)
        if config.tokenizer_repo
        else _simple_tokenizer(context)
    )
    clip = CLIP(
        model,
        tokenizer,
        name=name or config.name,
        mean=config.mean,
        std=config.std,
        antialias=antialias,
        squash=config.resize == "squash",
    )
    clip.config = config
    return clip


def clip_config(architecture: str, tag: str | None = None, *, name: str | None = None) -> CLIPConfig:
    """open_clip's architecture as a `CLIPConfig`, with activation and normalisation of the weights `tag`."""
    resolved = resolve_architecture(architecture, tag)
    model_cfg = dict(open_clip.get_model_config(resolved) or {})
    preprocess = get_pretrained_cfg(resolved, tag) if tag else {}
    if tag and not preprocess:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(resolved)) or "none"
        raise ModelError(f"open_clip knows no weights {tag!r} of {resolved}; its tags: {tags}")
    return CLIPConfig(
        name=name or (f"{resolved}/{tag}" if tag else resolved),
        model_cfg=model_cfg,
        mean=tuple(preprocess.get("mean") or OPENAI_MEAN),
        std=tuple(preprocess.get("std") or OPENAI_STD),
        resize="squash" if preprocess.get("resize_mode") == "squash" else "shortest",
    )


def resolve_architecture(name: str, tag: str | None = None) -> str:
    """open_clip's name of the architecture whose activation is the one `tag` was trained with.

    OpenAI's weights need the "-quickgelu" variants; open_clip only warns when given the plain name.
    """
    name = name.replace("/", "-")
    config = open_clip.get_model_config(name)
    if config is None:
        close = difflib.get_close_matches(name, open_clip.list_models(), n=3)
        hint = f": did you mean {', '.join(close)}?" if close else "; open_clip.list_models() lists them"
        raise ModelError(f"open_clip knows no architecture {name!r}{hint}")
    variant = name.removesuffix("-quickgelu") if config.get("quick_gelu") else f"{name}-quickgelu"
    tag_config = (get_pretrained_cfg(name, tag) or get_pretrained_cfg(variant, tag)) if tag else None
    if not tag_config or bool(tag_config.get("quick_gelu")) == bool(config.get("quick_gelu")):
        return name
    if open_clip.get_model_config(variant) is None:
        raise ModelError(
            f"{name} has another activation than the weights {tag!r}, and open_clip has no {variant}"
        )
    return variant


def _from_architecture(
    architecture: str,
    pretrained: str | os.PathLike[str] | None,
    name: str | None,
    antialias: bool,
    cache_dir: str | os.PathLike[str] | None,
) -> CLIP:
    tag = None if pretrained is None else str(pretrained)
    resolved = resolve_architecture(architecture, tag)
    if tag is None:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(resolved)) or "none"
        raise ModelError(f"{resolved} needs weights: give a file, or a tag to download ({tags})")
    path = Path(tag).expanduser()
    try:
        if get_pretrained_cfg(resolved, tag):
            model = open_clip.create_model(
                resolved, pretrained=tag, cache_dir=None if cache_dir is None else str(cache_dir)
            )
        elif path.suffix in FILE_SUFFIXES or path.is_file():
            return load_clip(path, name=name, config=clip_config(resolved), antialias=antialias)
        else:
            tags = ", ".join(open_clip.list_pretrained_tags_by_model(resolved))
            raise ModelError(f"{tag!r} is neither a file nor a tag of {resolved}; its tags: {tags}")
        tokenizer = open_clip.get_tokenizer(resolved)
    except (RuntimeError, OSError, ValueError, ImportError) as error:
        raise ModelError(f"could not load {resolved} with the weights {tag!r}: {error}") from error
    preprocess = open_clip.get_model_preprocess_cfg(model)
    return CLIP(
        model,
        tokenizer,
        name=name or f"{resolved}/{tag}",
        mean=tuple(preprocess.get("mean", OPENAI_MEAN)),
        std=tuple(preprocess.get("std", OPENAI_STD)),
        antialias=antialias,
    )
