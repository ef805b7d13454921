"""A rectified-flow transformer in the layout of Flux's checkpoints (github.com/black-forest-labs/flux).

It is written for the small network of the pocket world. It has no guidance embedding.
"""

import math
import os
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ModelError
from ..schema import printable
from .checkpoint import build_from, read_checkpoint

PATCH = 2
AXES = (16, 56, 56)
"""Channels of a head for each axis of the rotary embedding: an index, the row, and the column."""
HEAD = sum(AXES)
_TIME_CHANNELS = 256


@dataclass(frozen=True)
class FluxConfig:
    """The sizes of a network. `context` and `pooled` are the widths of text tokens and of the text as a whole."""

    hidden: int = 256
    depth: int = 1
    depth_single: int = 4
    context: int = 64
    pooled: int = 64
    channels: int = 16

    @classmethod
    def of(cls, state: dict[str, Tensor]) -> "FluxConfig":
        """Read the sizes off a state dict. Raise `KeyError` if it is not of this layout."""
        names = {name.split(".")[0]: set[str]() for name in state}
        for name in state:
            first, *rest = name.split(".")
            names[first].update(rest[:1])
        hidden, channels = state["img_in.weight"].shape
        return cls(
            hidden=hidden,
            depth=len(names["double_blocks"]),
            depth_single=len(names["single_blocks"]),
            context=state["txt_in.weight"].shape[1],
            pooled=state["vector_in.in_layer.weight"].shape[1],
            channels=channels // PATCH**2,
        )


def rotations(rows: int, columns: int, text: int, device: torch.device) -> Tensor:
    """Return (cosine, sine) of the rotary embedding, [tokens, HEAD / 2, 2]. Text tokens are at the origin."""
    row, column = torch.meshgrid(
        torch.arange(rows, device=device), torch.arange(columns, device=device), indexing="ij"
    )
    image = torch.stack([torch.zeros_like(row), row, column], -1).flatten(0, 1)
    positions = torch.cat([image.new_zeros(text, 3), image]).double()
    angles = []
    for axis, channels in enumerate(AXES):
        frequency = 10_000.0 ** (-torch.arange(0, channels, 2, device=device).double() / channels)
        angles.append(positions[:, axis, None] * frequency)
    angle = torch.cat(angles, 1)
    return torch.stack([angle.cos(), angle.sin()], -1).float()


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Rotate each pair of neighboring channels of x [B, heads, tokens, HEAD]."""
    first, second = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cosine, sine = rotation.unbind(-1)
    turned = torch.stack([cosine * first - sine * second, sine * first + cosine * second], -1)
    return turned.flatten(-2).to(x.dtype)


def embed_time(t: Tensor) -> Tensor:
    """Sinusoids [B, 256] of times [B] in [0, 1]."""
    half = _TIME_CHANNELS // 2
    frequency = torch.exp(-math.log(10_000) * torch.arange(half, device=t.device) / half)
    angle = 1000 * t.float()[:, None] * frequency
    return torch.cat([angle.cos(), angle.sin()], 1)


class _MLP(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.in_layer, self.out_layer = nn.Linear(channels, hidden), nn.Linear(hidden, hidden)

    def forward(self, x: Tensor) -> Tensor:
        return self.out_layer(F.silu(self.in_layer(x)))


class _RMSNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(HEAD))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (HEAD,), self.scale, eps=1e-6)


class _QKNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query_norm, self.key_norm = _RMSNorm(), _RMSNorm()

    def forward(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        return self.query_norm(q), self.key_norm(k)


class _Modulation(nn.Module):
    def __init__(self, hidden: int, count: int) -> None:
        super().__init__()
        self.count = count
        self.lin = nn.Linear(hidden, count * hidden)

    def forward(self, vec: Tensor) -> tuple[Tensor, ...]:
        return self.lin(F.silu(vec))[:, None].chunk(self.count, -1)


def _norm(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return (1 + scale) * F.layer_norm(x, x.shape[-1:], eps=1e-6) + shift


def _heads(qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """[B, tokens, 3 * hidden] -> q, k, v [B, heads, tokens, HEAD]."""
    q, k, v = qkv.unflatten(-1, (3, -1, HEAD)).permute(2, 0, 3, 1, 4)
    return q, k, v


def _attend(q: Tensor, k: Tensor, v: Tensor, rotation: Tensor) -> Tensor:
    mixed = F.scaled_dot_product_attention(rotate(q, rotation), rotate(k, rotation), v)
    return mixed.transpose(1, 2).flatten(2)


class _Attention(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.qkv, self.norm, self.proj = nn.Linear(hidden, 3 * hidden), _QKNorm(), nn.Linear(hidden, hidden)

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = _heads(self.qkv(x))
        return *self.norm(q, k), v


def _feed_forward(hidden: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(hidden, 4 * hidden), nn.GELU(approximate="tanh"), nn.Linear(4 * hidden, hidden)
    )


class _DoubleBlock(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.img_mod, self.txt_mod = _Modulation(hidden, 6), _Modulation(hidden, 6)
        self.img_attn, self.txt_attn = _Attention(hidden), _Attention(hidden)
        self.img_mlp, self.txt_mlp = _feed_forward(hidden), _feed_forward(hidden)

    def forward(self, img: Tensor, txt: Tensor, vec: Tensor, rotation: Tensor) -> tuple[Tensor, Tensor]:
        img_mod, txt_mod = self.img_mod(vec), self.txt_mod(vec)
        of_img = self.img_attn.heads(_norm(img, *img_mod[:2]))
        of_txt = self.txt_attn.heads(_norm(txt, *txt_mod[:2]))
        q, k, v = (torch.cat(pair, 2) for pair in zip(of_txt, of_img, strict=True))
        mixed = _attend(q, k, v, rotation)
        tokens = txt.shape[1]
        img = img + img_mod[2] * self.img_attn.proj(mixed[:, tokens:])
        img = img + img_mod[5] * self.img_mlp(_norm(img, *img_mod[3:5]))
        txt = txt + txt_mod[2] * self.txt_attn.proj(mixed[:, :tokens])
        txt = txt + txt_mod[5] * self.txt_mlp(_norm(txt, *txt_mod[3:5]))
        return img, txt


class _SingleBlock(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.modulation, self.norm = _Modulation(hidden, 3), _QKNorm()
        self.linear1, self.linear2 = nn.Linear(hidden, 7 * hidden), nn.Linear(5 * hidden, hidden)

    def forward(self, x: Tensor, vec: Tensor, rotation: Tensor) -> Tensor:
        shift, scale, gate = self.modulation(vec)
        qkv, wide = self.linear1(_norm(x, shift, scale)).split([3 * self.hidden, 4 * self.hidden], -1)
        q, k, v = _heads(qkv)
        q, k = self.norm(q, k)
        mixed = _attend(q, k, v, rotation)
        return x + gate * self.linear2(torch.cat([mixed, F.gelu(wide, approximate="tanh")], -1))


class _LastLayer(nn.Module):
    def __init__(self, hidden: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden, channels * PATCH**2)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(hidden, 2 * hidden))

    def forward(self, x: Tensor, vec: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(vec)[:, None].chunk(2, -1)
        return self.linear(_norm(x, shift, scale))


class Flux(nn.Module):
    """The velocity v = noise - x_0 at x_t = (1 - t) x_0 + t noise."""

    def __init__(self, config: FluxConfig = FluxConfig()) -> None:
        super().__init__()
        self.config, hidden = config, config.hidden
        self.img_in = nn.Linear(config.channels * PATCH**2, hidden)
        self.txt_in = nn.Linear(config.context, hidden)
        self.time_in, self.vector_in = _MLP(_TIME_CHANNELS, hidden), _MLP(config.pooled, hidden)
        self.double_blocks = nn.ModuleList(_DoubleBlock(hidden) for _ in range(config.depth))
        self.single_blocks = nn.ModuleList(_SingleBlock(hidden) for _ in range(config.depth_single))
        self.final_layer = _LastLayer(hidden, config.channels)

    def forward(self, x: Tensor, t: Tensor, context: Tensor, pooled: Tensor) -> Tensor:
        """x [B, C, H, W] with even sides, t [B] in [0, 1], text tokens [B, n, context], the text [B, pooled]."""
        rows, columns = x.shape[-2] // PATCH, x.shape[-1] // PATCH
        img = self.img_in(F.pixel_unshuffle(x, PATCH).flatten(2).mT)
        txt = self.txt_in(context)
        vec = self.time_in(embed_time(t).to(x.dtype)) + self.vector_in(pooled)
        rotation = rotations(rows, columns, txt.shape[1], x.device)
        for block in self.double_blocks:
            img, txt = block(img, txt, vec, rotation)
        tokens, length = torch.cat([txt, img], 1), txt.shape[1]
        for block in self.single_blocks:
            tokens = block(tokens, vec, rotation)
        out = self.final_layer(tokens[:, length:], vec)
        return F.pixel_shuffle(out.mT.unflatten(2, (rows, columns)), PATCH)


def load_flux(path: str | os.PathLike[str], dtype: torch.dtype = torch.float32) -> Flux:
    """Return the frozen network of a safetensors file. Raise `ModelError` if it holds none."""
    source = printable(str(path))
    state, _ = read_checkpoint(path)
    try:
        config = FluxConfig.of(state)
    except (KeyError, ValueError, IndexError):
        raise ModelError(f"{source} is no Flux network without guidance embedding") from None
    model = build_from(lambda: Flux(config), state, source, "the network")
    return model.to(dtype).eval().requires_grad_(False)
