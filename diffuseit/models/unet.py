"""The ADM U-Net of guided diffusion (Dhariwal & Nichol 2021, arXiv 2105.05233) in its own state-dict layout.

Module names and order reproduce openai/guided-diffusion's `UNetModel`, so its checkpoints and those of its
descendants (P2-weighting, Crowson's fine-tunes) load without renaming.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..errors import InputError
from ..schema import check, number


@dataclass(frozen=True)
class UNetConfig:
    """Shape of an ADM U-Net; the fields carry guided-diffusion's names.

    `attention_resolutions` are downsampling factors (1, 2, 4, ...), as `UNetModel` takes them; guided-diffusion's
    command line gives image resolutions instead, see `from_guided_diffusion`. `num_head_channels`, if not -1,
    overrides `num_heads`. `space_to_depth` folds s x s pixels into channels before the first convolution and
    unfolds them after the last, so that the network works at image_size / s.

    Raise `InputError` for values that are out of bounds or make no network.
    """

    image_size: int = number(256, low=1, high=2048)
    in_channels: int = number(3, low=1, high=64)
    model_channels: int = number(256, low=1, high=4096)
    out_channels: int = number(6, low=1, high=64)
    num_res_blocks: int = number(2, low=1, high=16)
    attention_resolutions: tuple[int, ...] = number((8, 16, 32), low=0, high=2048, longest=16)
    dropout: float = number(0.0, low=0, high=1)
    channel_mult: tuple[float, ...] = number((1, 1, 2, 2, 4, 4), low=0, high=64, longest=10)
    conv_resample: bool = True
    num_classes: int | None = number(None, low=1, high=1_000_000)
    num_heads: int = number(1, low=1, high=1024)
    num_head_channels: int = number(-1, low=-1, high=4096)
    num_heads_upsample: int = number(-1, low=-1, high=1024)
    use_scale_shift_norm: bool = True
    resblock_updown: bool = True
    use_new_attention_order: bool = False
    norm_groups: int = number(32, low=1, high=1024)
    space_to_depth: Literal[1, 2, 4, 8] = 1

    def __post_init__(self) -> None:
        check(self)
        if not self.channel_mult:
            raise InputError("channel_mult is empty: a U-Net has at least one level")
        if self.num_head_channels == 0 or self.num_heads_upsample == 0:
            raise InputError("num_head_channels and num_heads_upsample cannot be 0: -1 stands for none")
        for width in self.widths:
            if not width or width % self.norm_groups:
                raise InputError(f"{width} channels do not divide into {self.norm_groups} groups")
        if self.image_size % self.size_multiple:
            raise InputError(f"an image_size of {self.image_size} is no multiple of {self.size_multiple}")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(int(mult * self.model_channels) for mult in self.channel_mult)

    @property
    def size_multiple(self) -> int:
        """Pictures must be a multiple of this many pixels on each side."""
        return self.space_to_depth * 2 ** (len(self.channel_mult) - 1)

    @classmethod
    def from_guided_diffusion(cls, flags: dict[str, Any]) -> "UNetConfig":
        """Reads guided-diffusion's own flags (`model_and_diffusion_defaults`), diffusion flags ignored.

        Raises `InputError` where `channel_mult` is not given and guided-diffusion has no default for the size.
        """
        image_size = int(flags["image_size"])
        if flags.get("channel_mult"):
            channel_mult = tuple(float(m) for m in str(flags["channel_mult"]).split(","))
        elif image_size in _DEFAULT_CHANNEL_MULT:
            channel_mult = _DEFAULT_CHANNEL_MULT[image_size]
        else:
            raise InputError(f"no default channel_mult for pictures of {image_size} pixels: give it")
        resolutions = str(flags["attention_resolutions"]).split(",")
        return cls(
            image_size=image_size,
            model_channels=int(flags["num_channels"]),
            out_channels=6 if flags.get("learn_sigma") else 3,
            num_res_blocks=int(flags["num_res_blocks"]),
            attention_resolutions=tuple(image_size // int(r) for r in resolutions),
            dropout=float(flags.get("dropout", 0.0)),
            channel_mult=channel_mult,
            num_classes=1000 if flags.get("class_cond") else None,
            num_heads=int(flags.get("num_heads", 4)),
            num_head_channels=int(flags.get("num_head_channels", -1)),
            num_heads_upsample=int(flags.get("num_heads_upsample", -1)),
            use_scale_shift_norm=bool(flags.get("use_scale_shift_norm", True)),
            resblock_updown=bool(flags.get("resblock_updown", False)),
            use_new_attention_order=bool(flags.get("use_new_attention_order", False)),
        )


_DEFAULT_CHANNEL_MULT: dict[int, tuple[float, ...]] = {
    512: (0.5, 1, 1, 2, 2, 4, 4),
    256: (1, 1, 2, 2, 4, 4),
    128: (1, 1, 2, 3, 4),
    64: (1, 2, 3, 4),
}


def timestep_embedding(timesteps: Tensor, dim: int, max_period: float = 10000.0) -> Tensor:
    """Sinusoidal embedding: [B] (fractions allowed) to [B, dim], cosines first."""
    half = dim // 2
    steps = torch.arange(half, dtype=torch.float32, device=timesteps.device)
    angles = timesteps[:, None].float() * torch.exp(-math.log(max_period) * steps / half)
    embedding = torch.cat([torch.cos(angles), torch.sin(angles)], dim=-1)
    return F.pad(embedding, (0, dim % 2))


class GroupNorm32(nn.GroupNorm):
    """Group normalization whose statistics stay in float32 when the features are half precision."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == self.weight.dtype:
            return super().forward(x)
        weight, bias = self.weight.float(), self.bias.float()
        return F.group_norm(x.float(), self.num_groups, weight, bias, self.eps).to(x.dtype)


class EmbeddedSequential(nn.Sequential):
    """A sequence that hands the timestep embedding to its residual blocks."""

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:  # type: ignore[override]
        for layer in self:
            x = layer(x, emb) if isinstance(layer, ResBlock) else layer(x)
        return x


class Upsample(nn.Module):
    """Nearest-neighbor doubling, then a 3x3 convolution if `use_conv`."""

    def __init__(self, channels: int, use_conv: bool):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1) if use_conv else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


class Downsample(nn.Module):
    """Halving by a strided 3x3 convolution, or by 2x2 averaging."""

    def __init__(self, channels: int, use_conv: bool):
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1) if use_conv else nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class ResBlock(nn.Module):
    """BigGAN-style residual block conditioned on the timestep embedding; may halve or double the resolution."""

    def __init__(
        self, config: UNetConfig, channels: int, out_channels: int, *, up: bool = False, down: bool = False
    ):
        super().__init__()
        emb_channels = 4 * config.model_channels
        self.use_scale_shift_norm = config.use_scale_shift_norm
        self.resample: nn.Module | None = None
        if up:
            self.resample = Upsample(channels, use_conv=False)
        elif down:
            self.resample = Downsample(channels, use_conv=False)
        self.in_layers = nn.Sequential(
            GroupNorm32(config.norm_groups, channels),
            nn.SiLU(),
            nn.Conv2d(channels, out_channels, 3, padding=1),
        )
        self.emb_layers = nn.Sequential(
            nn.SiLU(),
            nn.Linear(emb_channels, 2 * out_channels if config.use_scale_shift_norm else out_channels),
        )
        self.out_layers = nn.Sequential(
            GroupNorm32(config.norm_groups, out_channels),
            nn.SiLU(),
            nn.Dropout(config.dropout),
            _zero(nn.Conv2d(out_channels, out_channels, 3, padding=1)),
        )
        self.skip_connection = (
            nn.Identity() if out_channels == channels else nn.Conv2d(channels, out_channels, 1)
        )

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        norm, activation, conv = self.in_layers
        h = activation(norm(x))
        if self.resample is not None:
            h, x = self.resample(h), self.resample(x)
        h = conv(h)
        emb_out = self.emb_layers(emb).to(h.dtype)[:, :, None, None]
        if self.use_scale_shift_norm:
            scale, shift = emb_out.chunk(2, dim=1)
            h = self.out_layers[0](h) * (1 + scale) + shift
            h = self.out_layers[1:](h)
        else:
            h = self.out_layers(h + emb_out)
        return self.skip_connection(x) + h


class AttentionBlock(nn.Module):
    """Self-attention over all positions, in either of guided-diffusion's two orders of the qkv channels."""

    def __init__(self, config: UNetConfig, channels: int, num_heads: int):
        super().__init__()
        if config.num_head_channels != -1:
            if channels % config.num_head_channels:
                raise InputError(
                    f"{channels} channels do not divide into heads of {config.num_head_channels}"
                )
            num_heads = channels // config.num_head_channels
        if channels % num_heads:
            raise InputError(f"{channels} channels do not divide into {num_heads} heads")
        self.num_heads = num_heads
        self.split_qkv_first = config.use_new_attention_order
        self.norm = GroupNorm32(config.norm_groups, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = _zero(nn.Conv1d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        b, c, height, width = x.shape
        tokens = x.reshape(b, c, height * width)
        qkv = self.qkv(self.norm(tokens))
        if self.split_qkv_first:
            qkv = qkv.reshape(b, 3, self.num_heads, c // self.num_heads, -1).transpose(1, 2)
        else:
            qkv = qkv.reshape(b, self.num_heads, 3, c // self.num_heads, -1)
        # Contiguous, or PyTorch falls back to attention that keeps all length x length weights.
        q, k, v = qkv.transpose(-1, -2).contiguous().unbind(dim=2)
        attended = F.scaled_dot_product_attention(q, k, v)
        attended = attended.transpose(-1, -2).reshape(b, c, -1)
        return (tokens + self.proj_out(attended)).reshape(b, c, height, width)


class UNet(nn.Module):
    """ADM U-Net: `forward(x [B, C, H, W], timesteps [B], y [B] | None) -> [B, out_channels, H, W]`.

    H and W must be multiples of `config.size_multiple`. `y` are class labels, given exactly when the network is
    class-conditional. `forward` raises `InputError` otherwise. With `checkpoint_blocks` a block keeps its inputs
    alone for the way back and is computed once more there.
    """

    checkpoint_blocks = False

    def __init__(self, config: UNetConfig):
        super().__init__()
        self.config = config
        width, fold = config.model_channels, config.space_to_depth**2
        heads_up = config.num_heads if config.num_heads_upsample == -1 else config.num_heads_upsample

        self.time_embed = nn.Sequential(
            nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, 4 * width)
        )
        if config.num_classes is not None:
            self.label_emb = nn.Embedding(config.num_classes, 4 * width)

        ch = first_ch = config.widths[0]
        self.input_blocks = nn.ModuleList(
            [EmbeddedSequential(nn.Conv2d(config.in_channels * fold, ch, 3, padding=1))]
        )
        skips, factor = [ch], 1
        for level, level_width in enumerate(config.widths):
            for _ in range(config.num_res_blocks):
                layers: list[nn.Module] = [ResBlock(config, ch, level_width)]
                ch = level_width
                if factor in config.attention_resolutions:
                    layers.append(AttentionBlock(config, ch, config.num_heads))
                self.input_blocks.append(EmbeddedSequential(*layers))
                skips.append(ch)
            if level != len(config.channel_mult) - 1:
                down = (
                    ResBlock(config, ch, ch, down=True)
                    if config.resblock_updown
                    else Downsample(ch, config.conv_resample)
                )
                self.input_blocks.append(EmbeddedSequential(down))
                skips.append(ch)
                factor *= 2

        self.middle_block = EmbeddedSequential(
            ResBlock(config, ch, ch), AttentionBlock(config, ch, config.num_heads), ResBlock(config, ch, ch)
        )

        self.output_blocks = nn.ModuleList()
        for level, level_width in reversed(list(enumerate(config.widths))):
            for i in range(config.num_res_blocks + 1):
                layers = [ResBlock(config, ch + skips.pop(), level_width)]
                ch = level_width
                if factor in config.attention_resolutions:
                    layers.append(AttentionBlock(config, ch, heads_up))
                if level and i == config.num_res_blocks:
                    layers.append(
                        ResBlock(config, ch, ch, up=True)
                        if config.resblock_updown
                        else Upsample(ch, config.conv_resample)
                    )
                    factor //= 2
                self.output_blocks.append(EmbeddedSequential(*layers))

        self.out = nn.Sequential(
            GroupNorm32(config.norm_groups, ch),
            nn.SiLU(),
            _zero(nn.Conv2d(first_ch, config.out_channels * fold, 3, padding=1)),
        )

    def forward(self, x: Tensor, timesteps: Tensor, y: Tensor | None = None) -> Tensor:
        if (y is not None) != (self.config.num_classes is not None):
            raise InputError("class labels are needed exactly when the U-Net is class-conditional")
        height, width = x.shape[-2:]
        if height % self.config.size_multiple or width % self.config.size_multiple:
            raise InputError(
                f"a picture of {width}x{height} pixels does not fit this U-Net: "
                f"both sides must be multiples of {self.config.size_multiple}"
            )
        emb = self.time_embed(timestep_embedding(timesteps, self.config.model_channels).to(self.dtype))
        if y is not None:
            emb = emb + self.label_emb(y)

        fold = self.config.space_to_depth
        h = F.pixel_unshuffle(x, fold) if fold > 1 else x
        h = h.to(self.dtype)
        skips = []
        for block in self.input_blocks:
            h = self._run(block, emb, h)
            skips.append(h)
        h = self._run(self.middle_block, emb, h)
        for block in self.output_blocks:
            h = self._run(block, emb, h, skips.pop())
        h = self._last(h, x.dtype)
        return F.pixel_shuffle(h, fold) if fold > 1 else h

    def _run(self, block: nn.Module, emb: Tensor, *parts: Tensor) -> Tensor:
        """A block on its inputs, joined inside so that a checkpoint keeps no copy of them."""
        if self.checkpoint_blocks and torch.is_grad_enabled():
            return checkpoint(_join, block, emb, *parts, use_reentrant=False, preserve_rng_state=False)
        return _join(block, emb, *parts)

    def _last(self, h: Tensor, dtype: torch.dtype) -> Tensor:
        """The last layers; the convolution in `dtype`, so that a half-precision network does not round its result."""
        if h.dtype == dtype:
            return self.out(h)
        conv: Any = self.out[2]
        return F.conv2d(self.out[:2](h).to(dtype), conv.weight.to(dtype), conv.bias.to(dtype), padding=1)

    @property
    def dtype(self) -> torch.dtype:
        """Precision the network computes in."""
        return next(self.time_embed.parameters()).dtype


def _join(block: nn.Module, emb: Tensor, *parts: Tensor) -> Tensor:
    return block(parts[0] if len(parts) == 1 else torch.cat(parts, dim=1), emb)


def _zero(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module
