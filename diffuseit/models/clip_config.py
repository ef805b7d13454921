"""Configurations of CLIP networks, from open_clip's registry, a file's metadata, or the weights.

A file may give plain numbers or the name of an architecture, and nothing else: no names of other networks, of
tokenizers or of repositories.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import open_clip
from open_clip.pretrained import get_pretrained_cfg
from torch import Tensor, nn

from ..errors import InputError, ModelError
from ..schema import check, number, shown, text

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
# Words of OpenAI's tokenizer.
VOCABULARY = 49408


@dataclass(frozen=True)
class VisionTower:
    """A transformer of `layers` blocks, or a ResNet of four stages, by open_clip's names.

    `patch_size` is None for a ResNet, which has no patches.
    """

    image_size: int = number(224, low=8, high=1024)
    layers: int | tuple[int, int, int, int] = number(12, low=1, high=64)
    width: int = number(768, low=1, high=8192)
    head_width: int = number(64, low=1, high=1024)
    patch_size: int | None = number(16, low=1, high=64)
    mlp_ratio: float = number(4.0, low=0.1, high=16)

    def __post_init__(self) -> None:
        check(self)
        resnet = isinstance(self.layers, tuple)
        if resnet != (self.patch_size is None):
            raise InputError("layers are four numbers without a patch_size (a ResNet), or one number with it")
        if self.image_size % (self.patch_size or 32):
            raise InputError(f"images of {self.image_size} pixels do not divide into {self.patch_size or 32}")
        if self.width * (32 if resnet else 1) % self.head_width:
            raise InputError(f"heads of {self.head_width} do not divide a width of {self.width}")


@dataclass(frozen=True)
class TextTower:
    """A causal transformer over the words of OpenAI's tokenizer, by open_clip's names."""

    context_length: int = number(77, low=4, high=512)
    vocab_size: int = number(VOCABULARY, low=VOCABULARY, high=100_000)
    width: int = number(512, low=1, high=8192)
    heads: int = number(8, low=1, high=256)
    layers: int = number(12, low=1, high=64)

    def __post_init__(self) -> None:
        check(self)
        if self.width % self.heads:
            raise InputError(f"{self.heads} heads do not divide a width of {self.width}")


@dataclass(frozen=True)
class PlainCLIP:
    """A CLIP of two towers as OpenAI built them, in the layout of open_clip's `model_cfg`."""

    embed_dim: int = number(low=1, high=8192)
    vision_cfg: VisionTower = VisionTower()
    text_cfg: TextTower = TextTower()
    quick_gelu: bool = False

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class CLIPConfig:
    """A CLIP network and its preprocessing; JSON under "config" in a file's metadata.

    `model_cfg` is a shape, or the name of one of open_clip's own architectures. Raise `InputError` for values that are
    out of bounds and names that open_clip does not have.
    """

    model_cfg: PlainCLIP | str
    name: str = text(longest=200)
    mean: tuple[float, float, float] = number(OPENAI_MEAN, low=0, high=1)
    std: tuple[float, float, float] = number(OPENAI_STD, low=0.001, high=10)
    # How a whole image becomes a square.
    resize: Literal["shortest", "squash"] = "shortest"

    def __post_init__(self) -> None:
        check(self)
        if isinstance(self.model_cfg, str):
            cfg = _registered(self.model_cfg)
            if "hf_model_name" in cfg["text_cfg"] or "multimodal_cfg" in cfg:
                raise InputError(f"{self.model_cfg} has a text tower that is not supported")
            tokenizer = self.tokenizer_repo
            if tokenizer is not None and not _is_siglip(tokenizer):
                raise InputError(f"{self.model_cfg} needs the tokenizer {tokenizer}, which is not supported")

    @property
    def quick_gelu(self) -> bool:
        """Whether the network has OpenAI's approximation of the GELU."""
        return bool(self._open_clip_cfg().get("quick_gelu"))

    @property
    def tokenizer_repo(self) -> str | None:
        """The hub repository whose tokenizer is needed; None for OpenAI's, which open_clip has."""
        return self._open_clip_cfg()["text_cfg"].get("hf_tokenizer_name")

    @property
    def context_length(self) -> int:
        """Tokens of a text."""
        return self._open_clip_cfg()["text_cfg"].get("context_length", TextTower.context_length)

    @property
    def vocab_size(self) -> int:
        """Token numbers that the text encoder knows."""
        return self._open_clip_cfg()["text_cfg"].get("vocab_size", TextTower.vocab_size)

    def build(self) -> nn.Module:
        """Return the open_clip network, randomly initialized."""
        cfg = self._open_clip_cfg()
        network = open_clip.CustomTextCLIP if cfg.pop("custom_text", False) else open_clip.CLIP
        return network(**cfg)

    def _open_clip_cfg(self) -> dict[str, Any]:
        return _registered(self.model_cfg) if isinstance(self.model_cfg, str) else asdict(self.model_cfg)


def _registered(architecture: str) -> dict[str, Any]:
    """open_clip's own `model_cfg` of an architecture; never one that a folder or a repository has."""
    if architecture not in open_clip.list_models():
        raise InputError(f"open_clip knows no architecture {shown(architecture)}{_close(architecture)}")
    found = open_clip.get_model_config(architecture)
    assert isinstance(found, dict)
    return found


def _close(architecture: str) -> str:
    close = difflib.get_close_matches(architecture[:100], open_clip.list_models(), n=3)
    return f": did you mean {', '.join(close)}?" if close else "; open_clip.list_models() lists them"


def _is_siglip(tokenizer: str) -> bool:
    return tokenizer.startswith("timm/ViT-") and "-SigLIP" in tokenizer


def clip_config(architecture: str, tag: str | None = None, *, name: str | None = None) -> CLIPConfig:
    """Return open_clip's architecture as a `CLIPConfig`, with activation and normalization of the weights `tag`.

    Raise `InputError` for an architecture or a tag that open_clip does not know, or that is not supported here.
    """
    resolved = resolve_architecture(architecture, tag)
    preprocess = get_pretrained_cfg(resolved, tag) if tag else {}
    if tag and not preprocess:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(resolved)) or "none"
        raise InputError(f"open_clip knows no weights {tag!r} of {resolved}; its tags: {tags}")
    return CLIPConfig(
        name=name or (f"{resolved}/{tag}" if tag else resolved),
        model_cfg=resolved,
        mean=tuple(preprocess.get("mean") or OPENAI_MEAN),
        std=tuple(preprocess.get("std") or OPENAI_STD),
        resize="squash" if preprocess.get("resize_mode") == "squash" else "shortest",
    )


def resolve_architecture(name: str, tag: str | None = None) -> str:
    """Return open_clip's name of the architecture whose activation is the one `tag` was trained with.

    OpenAI's weights need the "-quickgelu" variants; open_clip only warns when given the plain name. Raise `InputError`
    for an unknown architecture.
    """
    name = name.replace("/", "-")
    quick_gelu = bool(_registered(name).get("quick_gelu"))
    variant = name.removesuffix("-quickgelu") if quick_gelu else f"{name}-quickgelu"
    tag_config = (get_pretrained_cfg(name, tag) or get_pretrained_cfg(variant, tag)) if tag else None
    if not tag_config or bool(tag_config.get("quick_gelu")) == quick_gelu:
        return name
    if variant not in open_clip.list_models():
        raise InputError(
            f"{name} has another activation than the weights {tag!r}, and open_clip has no {variant}"
        )
    return variant


def infer_clip(state: Mapping[str, Tensor], name: str, quick_gelu: bool = True) -> CLIPConfig:
    """Return the configuration of a CLIP in OpenAI's layout, read from its shapes. Heads are 64 wide.

    Raise `ModelError` for another layout; it says what the file is instead.
    """
    try:
        return CLIPConfig(name=name, model_cfg=_read_shapes(state, quick_gelu))
    except InputError as error:
        raise ModelError(f"a CLIP whose shape is not supported: {error}") from error
    except (LookupError, ValueError, ArithmeticError) as error:
        reason = f"it has no {error.args[0]}" if isinstance(error, KeyError) else "its shapes differ"
        raise ModelError(f"a CLIP, but not in OpenAI's layout ({reason}): name its architecture") from error


def _read_shapes(state: Mapping[str, Tensor], quick_gelu: bool) -> PlainCLIP:
    def blocks(prefix: str) -> int:
        depth = prefix.count(".")
        return len({key.split(".")[depth] for key in state if key.startswith(prefix)})

    def side(key: str) -> int:
        """Patches along a side, of positions for all of them and [CLS]."""
        return round((state[key].shape[0] - 1) ** 0.5)

    if "visual.proj" in state:
        width, _, _, patch_size = state["visual.conv1.weight"].shape
        vision = VisionTower(
            image_size=patch_size * side("visual.positional_embedding"),
            layers=blocks("visual.transformer.resblocks."),
            width=width,
            patch_size=patch_size,
        )
    else:
        first, second, third, fourth = (blocks(f"visual.layer{stage}.") for stage in (1, 2, 3, 4))
        vision = VisionTower(
            image_size=32 * side("visual.attnpool.positional_embedding"),
            layers=(first, second, third, fourth),
            width=state["visual.layer1.0.conv1.weight"].shape[0],
            patch_size=None,
        )
    text_width = state["ln_final.weight"].shape[0]
    text_tower = TextTower(
        context_length=state["positional_embedding"].shape[0],
        vocab_size=state["token_embedding.weight"].shape[0],
        width=text_width,
        heads=text_width // 64,
        layers=blocks("transformer.resblocks."),
    )
    return PlainCLIP(state["text_projection"].shape[1], vision, text_tower, quick_gelu)
