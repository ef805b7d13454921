"""Keys of a layer and the [CLS] token of a vision transformer, from one forward pass.

Splice-ViT features as DiffuseIT uses them (Kwon & Ye 2023, sec. 3.2; Tumanyan et al. 2022): keys carry the
structure of an image, the last [CLS] its appearance.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from ..errors import InputError, ModelError
from ..schema import check, number, printable
from .checkpoint import build_from, read_checkpoint, read_config, require_kind
from .precision import at_least_float32
from .resize import resize_shorter

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ViTFeatures:
    """Features of a batch of images; N counts the prefix tokens ([CLS] first) and the patches."""

    keys: Tensor  # [B, N, D] keys of the chosen layer, all heads concatenated
    early_keys: Tensor  # [B, N, D] those of the layer half-way to it, which hold textures and exact places
    cls: Tensor  # [B, D] [CLS] after the last block, before the final norm


@dataclass(frozen=True)
class ViTFacets:
    """All that one layer computes of a batch of images, [B, N, D] each; N as in `ViTFeatures`, heads concatenated."""

    queries: Tensor
    keys: Tensor
    values: Tensor
    tokens: Tensor  # after the layer


@dataclass(frozen=True)
class ViTConfig:
    """A timm network and its preprocessing; JSON under "config" in a file's metadata.

    With `rope_temperature` the network is an `Eva` with rotary positions (DINOv3) and no learned ones, else a
    `VisionTransformer` (DINO, DINOv2). Raise `InputError` for values that are out of bounds or make no network.
    """

    embed_dim: int = number(low=1, high=8192)
    depth: int = number(low=1, high=64)
    num_heads: int = number(low=1, high=256)
    patch_size: int = number(low=1, high=64)
    # Of the images that the position embeddings were learned for.
    image_size: int = number(low=1, high=2048)
    mlp_ratio: float = number(4.0, low=0.1, high=16)
    qkv_bias: bool = True
    norm_eps: float = number(1e-6, low=1e-12, high=0.1)
    layer_scale: bool = False
    reg_tokens: int = number(0, low=0, high=64)
    # Position embeddings leave out [CLS] and registers.
    no_embed_class: bool = False
    # Added to the number of patches when positions are interpolated.
    position_offset: float = number(0.1, low=0, high=1)
    position_antialias: bool = False
    rope_temperature: float | None = number(None, low=1, high=1_000_000)
    # Shorter side of what the network sees, and bound of the longer one.
    input_size: int = number(224, low=1, high=2048)
    max_size: int | None = number(480, low=1, high=4096)
    mean: tuple[float, float, float] = number(IMAGENET_MEAN, low=0, high=1)
    std: tuple[float, float, float] = number(IMAGENET_STD, low=0.001, high=10)
    # The block whose keys are returned.
    layer: int = number(-1, low=-64, high=63)

    def __post_init__(self) -> None:
        check(self)
        head, rest = divmod(self.embed_dim, self.num_heads)
        if rest:
            raise InputError(f"{self.num_heads} heads do not divide a width of {self.embed_dim}")
        if self.rope_temperature is not None and head % 4:
            raise InputError(f"rotary positions need heads whose width is a multiple of 4, not {head}")
        if min(self.image_size, self.input_size) < self.patch_size:
            raise InputError(
                f"images of {self.input_size} pixels are smaller than patches of {self.patch_size}"
            )
        if self.input_size > 128 * self.patch_size:
            raise InputError(
                f"an input_size of {self.input_size} is more than 128 patches of {self.patch_size}"
            )
        if not -self.depth <= self.layer < self.depth:
            raise InputError(
                f"layer {self.layer} does not exist: this vision transformer has {self.depth} blocks"
            )

    def build(self) -> VisionTransformer | Eva:
        """Return the timm network, randomly initialized, without a head."""
        shape: dict[str, Any] = {
            "img_size": self.image_size,
            "patch_size": self.patch_size,
            "embed_dim": self.embed_dim,
            "depth": self.depth,
            "num_heads": self.num_heads,
            "mlp_ratio": self.mlp_ratio,
            "init_values": 1.0 if self.layer_scale else None,
            "norm_layer": partial(nn.LayerNorm, eps=self.norm_eps),
            "num_classes": 0,
        }
        if self.rope_temperature is None:
            return VisionTransformer(
                **shape,
                qkv_bias=self.qkv_bias,
                reg_tokens=self.reg_tokens,
                no_embed_class=self.no_embed_class,
            )
        model = Eva(
            **shape,
            qkv_bias=False,
            num_reg_tokens=self.reg_tokens,
            dynamic_img_size=True,
            use_abs_pos_emb=False,
            use_rot_pos_emb=True,
            rope_type="dinov3",
            rope_temperature=self.rope_temperature,
            rope_rotate_half=True,
            use_fc_norm=False,
        )
        if self.qkv_bias:  # Eva keeps query and value biases beside the layer, where no hook would see them
            blocks: Any = model.blocks
            for block in blocks:
                block.attn.qkv = nn.Linear(self.embed_dim, 3 * self.embed_dim)
        return model


class ViT(nn.Module):
    """A frozen timm `VisionTransformer` or `Eva` that returns keys and [CLS] of images of any size.

    Keys are taken before rotary positions rotate them, so they describe what is there, not where.
    """

    model: VisionTransformer | Eva
    # What `load_vit` built it from.
    config: ViTConfig | None
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: VisionTransformer | Eva,
        *,
        input_size: int = 224,
        max_size: int | None = 480,
        mean: tuple[float, float, float] = IMAGENET_MEAN,
        std: tuple[float, float, float] = IMAGENET_STD,
        layer: int = -1,
        antialias: bool = False,
        position_offset: float = 0.1,
        position_antialias: bool = False,
    ) -> None:
        super().__init__()
        if model.cls_token is None:
            raise ModelError("this vision transformer has no [CLS] token; the losses need one")
        if not -len(model.blocks) <= layer < len(model.blocks):
            raise ModelError(
                f"layer {layer} does not exist: this vision transformer has {len(model.blocks)} blocks"
            )
        self.model = model.eval().requires_grad_(False)
        self.config = None
        self.position_offset = position_offset
        self.position_antialias = position_antialias
        self.input_size = input_size
        self.max_size = None if max_size is None else max(max_size, input_size)
        self.layer = layer
        self.antialias = antialias
        self.register_buffer(
            "mean", torch.tensor(mean, dtype=torch.float32, device="cpu").view(1, 3, 1, 1), persistent=False
        )
        self.register_buffer(
            "std", torch.tensor(std, dtype=torch.float32, device="cpu").view(1, 3, 1, 1), persistent=False
        )

    def cast(self, dtype: torch.dtype) -> ViT:
        """This network with weights of `dtype`; what comes before them and the features stay float32."""
        self.model.to(dtype)
        return self

    @property
    def parts_to_compile(self) -> list[nn.Module]:
        """The blocks without those whose keys are read from outside."""
        return [block for number, block in enumerate(self.model.blocks) if number not in self._key_layers]

    @property
    def _key_layers(self) -> tuple[int, int]:
        """The chosen layer and the one half-way to it."""
        chosen = self.layer % len(self.model.blocks)
        return chosen, chosen // 2

    def preprocess(self, image: Tensor) -> Tensor:
        """[B, 3, H, W] in [-1, 1] -> the input of the network: resized, normalized."""
        image = resize_shorter(0.5 * image + 0.5, self.input_size, self.max_size, antialias=self.antialias)
        return ((image - self.mean) / self.std).to(self.model.patch_embed.proj.weight.dtype)

    @property
    def depth(self) -> int:
        """How many layers there are."""
        return len(self.model.blocks)

    def grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """(rows, columns) of the patches, which come last among the keys, of an image of `size` (height, width)."""
        pixels = self.preprocess(self.mean.new_zeros(1, 3, *size))
        (height, width), (patch_height, patch_width) = pixels.shape[-2:], self.model.patch_embed.patch_size
        return height // patch_height, width // patch_width

    def position_embedding(self, height: int, width: int) -> Tensor:
        """[1, tokens, D] for images of height x width pixels, interpolated as Facebook's DINO does.

        Bicubic with the *given* scale factor (patches + offset) / learned patches, not the ratio of the sizes;
        an offset of 0 gives the sizes themselves, as DINOv2 does with registers.
        """
        model, learned = self.model, self.model.pos_embed
        if learned is None:
            raise ModelError("this vision transformer has no learned position embeddings")
        learned_height, learned_width = model.patch_embed.grid_size
        patch_height, patch_width = model.patch_embed.patch_size
        rows, columns = height // patch_height, width // patch_width
        if rows * columns == learned_height * learned_width and height == width:
            return learned
        prefix = 0 if model.no_embed_class else model.num_prefix_tokens
        grid = learned[:, prefix:].unflatten(1, (learned_height, learned_width)).permute(0, 3, 1, 2)
        offset = self.position_offset
        scale = ((rows + offset) / learned_height, (columns + offset) / learned_width)
        where: dict[str, Any] = {"scale_factor": scale} if offset else {"size": (rows, columns)}
        grid = F.interpolate(
            at_least_float32(grid), **where, mode="bicubic", antialias=self.position_antialias
        )
        grid = grid.to(learned.dtype)
        return torch.cat([learned[:, :prefix], grid.flatten(2).transpose(1, 2)], dim=1)

    def _tokens(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Preprocessed pixels [B, 3, H, W] -> tokens [B, N, D] that enter the first block, rotary positions."""
        model = self.model
        # The projection itself, not patch_embed: that one refuses sizes that are no multiple of the patch.
        projected = model.patch_embed.proj(pixels)
        patches = model.patch_embed.norm(projected.flatten(2).transpose(1, 2))
        rope = getattr(model, "rope", None)
        turn = None if rope is None else rope.get_embed(shape=list(projected.shape[-2:]))
        prefix = [
            token.expand(len(pixels), -1, -1)
            for token in (model.cls_token, model.reg_token)
            if token is not None
        ]
        if model.pos_embed is None:
            tokens = torch.cat([*prefix, patches], dim=1)
        elif model.no_embed_class:
            tokens = torch.cat([*prefix, patches + self.position_embedding(*pixels.shape[-2:])], dim=1)
        else:
            tokens = torch.cat([*prefix, patches], dim=1) + self.position_embedding(*pixels.shape[-2:])
        return model.norm_pre(tokens), turn

    def forward(self, image: Tensor) -> ViTFeatures:
        """Features of images [B, 3, H, W] in [-1, 1]; differentiable in `image`."""
        keys: dict[int, Tensor] = {}

        def keep(number: int, qkv: Tensor) -> None:
            keys[number] = at_least_float32(qkv.chunk(3, dim=-1)[1])

        chosen, early = self._key_layers
        blocks: Any = self.model.blocks
        with self._reading({chosen, early}, keep):
            tokens, turn = self._tokens(self.preprocess(image))
            for layer in blocks:
                tokens = layer(tokens) if turn is None else layer(tokens, rope=turn)
        cls = tokens[:, 0].clone()  # not a part of memory that the next pass may write to (CUDA graphs)
        return ViTFeatures(keys=keys[chosen], early_keys=keys[early], cls=at_least_float32(cls))

    @torch.no_grad()
    def facets(self, image: Tensor, layers: Collection[int]) -> dict[int, ViTFacets]:
        """All that the layers of these numbers, 0 or more, compute of images [B, 3, H, W] in [-1, 1]."""
        projections: dict[int, tuple[Tensor, ...]] = {}

        def keep(number: int, qkv: Tensor) -> None:
            projections[number] = at_least_float32(qkv).chunk(3, dim=-1)

        found: dict[int, ViTFacets] = {}
        blocks: Any = self.model.blocks
        with self._reading(set(layers), keep):
            tokens, turn = self._tokens(self.preprocess(image))
            for number, layer in enumerate(blocks[: max(layers) + 1]):
                # Not the call, which may be compiled and know nothing of what reads inside.
                tokens = layer.forward(tokens) if turn is None else layer.forward(tokens, rope=turn)
                if number in projections:
                    queries, keys, values = projections.pop(number)
                    found[number] = ViTFacets(queries, keys, values, at_least_float32(tokens))
        return found

    @contextmanager
    def _reading(self, layers: set[int], keep: Callable[[int, Tensor], None]) -> Iterator[None]:
        """Hand the queries, keys, and values [B, N, 3 D] of these layers to `keep` with the layer's number."""
        blocks: Any = self.model.blocks

        def hook(number: int, _module: nn.Module, _inputs: Any, qkv: Tensor) -> None:
            keep(number, qkv)

        handles = [blocks[number].attn.qkv.register_forward_hook(partial(hook, number)) for number in layers]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def to_timm(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict in the layout `ViTConfig.build` makes, from timm's or Facebook's.

    Training heads, mask tokens and stored rotary periods play no part in the features and are left out.
    """
    state = {
        key: value
        for key, value in state_dict.items()
        if not key.startswith(("head.", "mask_token", "rope", "local_cls_norm."))
        and not key.endswith(".bias_mask")
    }
    # DINOv2 with registers: [CLS] has a position, which timm adds to the token.
    if "register_tokens" in state:
        positions = state["pos_embed"]
        if state["cls_token"].shape != positions[:, :1].shape:
            raise ValueError("[CLS] and its position differ in shape")
        state["cls_token"] = state["cls_token"] + positions[:, :1]
        state["pos_embed"] = positions[:, 1:]
        state["reg_token"] = state.pop("register_tokens")
    # DINOv3
    if "storage_tokens" in state:
        state["reg_token"] = state.pop("storage_tokens")
        state = {re.sub(r"\.ls([12])\.gamma$", r".gamma_\1", key): value for key, value in state.items()}
        for key in [key for key in state if key.endswith("attn.qkv.bias")]:
            # Its keys have none.
            query, _, value = state[key].chunk(3)
            state[key] = torch.cat([query, torch.zeros_like(query), value])
    # timm's Eva
    for key in [key for key in state if key.endswith("attn.q_bias")]:
        stem = key.removesuffix("q_bias")
        query, value = state.pop(key), state.pop(f"{stem}v_bias")
        state[f"{stem}qkv.bias"] = torch.cat([query, torch.zeros_like(query), value])
    return state


def infer_config(state_dict: Mapping[str, Tensor], num_heads: int | None = None) -> ViTConfig:
    """Return the architecture as shapes in timm's layout tell it; heads are 64 wide (as in all DINOs) unless given.

    Raise `ModelError`, which says what it is instead, if they tell none that is supported.
    """
    try:
        return _read_shapes(state_dict, num_heads)
    except InputError as error:
        raise ModelError(f"a vision transformer whose shape is not supported: {error}") from error
    except (LookupError, ValueError, ArithmeticError) as error:
        raise ModelError("a vision transformer of an unknown layout") from error


def _read_shapes(state_dict: Mapping[str, Tensor], num_heads: int | None) -> ViTConfig:
    embed_dim, _, patch_size, _ = state_dict["patch_embed.proj.weight"].shape
    depth = 1 + max(int(key.split(".")[1]) for key in state_dict if key.startswith("blocks."))
    reg_tokens = state_dict["reg_token"].shape[1] if "reg_token" in state_dict else 0
    common: dict[str, Any] = {
        "embed_dim": embed_dim,
        "depth": depth,
        "num_heads": num_heads or max(1, embed_dim // 64),
        "patch_size": patch_size,
        "qkv_bias": "blocks.0.attn.qkv.bias" in state_dict,
        "reg_tokens": reg_tokens,
    }
    rotary = "pos_embed" not in state_dict and "blocks.0.gamma_1" in state_dict
    if "cls_token" not in state_dict or not (rotary or "pos_embed" in state_dict):
        raise ModelError(
            "a vision transformer without position embeddings that are known, or without a [CLS] token"
        )
    if "blocks.0.mlp.fc1.weight" not in state_dict:
        raise ModelError("a vision transformer with gated layers (SwiGLU), which are not supported")
    mlp_ratio = state_dict["blocks.0.mlp.fc1.weight"].shape[0] / embed_dim
    if rotary:
        return ViTConfig(
            **common,
            mlp_ratio=mlp_ratio,
            image_size=16 * patch_size,
            layer_scale=True,
            norm_eps=1e-5,
            rope_temperature=100.0,
        )
    tokens = state_dict["pos_embed"].shape[1]
    no_embed_class = math.isqrt(tokens) ** 2 == tokens
    grid = math.isqrt(tokens if no_embed_class else tokens - 1 - reg_tokens)
    if not no_embed_class and grid**2 != tokens - 1 - reg_tokens:
        raise ModelError("a vision transformer whose position embeddings are not those of a square image")
    return ViTConfig(
        **common,
        mlp_ratio=mlp_ratio,
        image_size=grid * patch_size,
        layer_scale="blocks.0.ls1.gamma" in state_dict,
        no_embed_class=no_embed_class,
        position_offset=0.0 if reg_tokens else 0.1,
        position_antialias=bool(reg_tokens),
        input_size=min(grid * patch_size, 224),
    )


def load_vit(
    state_dict_or_path: Mapping[str, Tensor] | str | os.PathLike[str],
    *,
    config: ViTConfig | None = None,
    num_heads: int | None = None,
    input_size: int | None = None,
    layer: int | None = None,
    antialias: bool = False,
    dtype: torch.dtype = torch.float32,
) -> ViT:
    """Return a frozen ViT from a state dict or a file, in timm's or Facebook's layout (DINO, DINOv2, DINOv3).

    The architecture is `config`, else the JSON under "config" in a safetensors file's metadata, else what the
    tensor shapes tell; `num_heads`, `input_size` and `layer` override it. Weights are copied and cast to `dtype`.
    Raise `ModelError` for a file that is missing, damaged, of another kind or of another shape than the
    architecture, `InputError` for a value that the architecture does not have.
    """
    metadata: Mapping[str, str] = {}
    if isinstance(state_dict_or_path, Mapping):
        source, state = "this state dict", dict(state_dict_or_path)
    else:
        source = printable(str(state_dict_or_path))
        state, metadata = read_checkpoint(state_dict_or_path)
    require_kind(state, "vit", source)
    try:
        state = to_timm(state)
    except (LookupError, ValueError, RuntimeError) as error:
        raise ModelError(f"{source} is a vision transformer of an unknown layout") from error
    config = config or read_config(ViTConfig, metadata, source)
    if config is None:
        try:
            config = infer_config(state, num_heads)
        except ModelError as error:
            raise ModelError(f"{source} is {error}") from error
    overrides: dict[str, Any] = {"num_heads": num_heads, "input_size": input_size, "layer": layer}
    config = replace(config, **{key: value for key, value in overrides.items() if value is not None})

    if not config.qkv_bias:  # DINOv3 comes with biases that are all zero, and without them
        state = {key: value for key, value in state.items() if not key.endswith("qkv.bias") or value.any()}
    vit = ViT(
        build_from(config.build, state, source, "the vision transformer"),
        input_size=config.input_size,
        max_size=config.max_size,
        mean=config.mean,
        std=config.std,
        layer=config.layer,
        antialias=antialias,
        position_offset=config.position_offset,
        position_antialias=config.position_antialias,
    )
    vit.config = config
    return vit.cast(dtype)


def random_vit(config: ViTConfig, seed: int = 0) -> ViT:
    """Return a frozen ViT as it is before training: with the random weights that timm starts from."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state = config.build().state_dict()
    return load_vit(state, config=config)
