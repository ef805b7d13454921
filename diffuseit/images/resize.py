"""Any image size to what a diffusion model takes, and back. Tensors only: nodes and command share it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from .choices import FitMode

MIN_SIDE = 8
FAMILIAR_ASPECT = 4  # beyond it a canvas of the trained area has little in common with what was trained on

ASPECT_TOLERANCE = 0.02
"""How much the aspects of a mask and an image may differ: sizes are rounded to pixels."""

Size = tuple[int, int]  # height, width


class Canvas(Protocol):
    """What a fit asks of a backbone."""

    @property
    def image_size(self) -> int: ...

    @property
    def size_multiple(self) -> int: ...


@dataclass(frozen=True)
class Fit:
    """How images [B, 3, H, W] in [-1, 1] and masks [B, 1, H, W] in [0, 1] of one size enter a model.

    `window` (top, left, height, width) of the source is resized to `content`, which lies in the middle of `canvas`,
    the image that the model sees; what is left is filled by reflection. Sizes are (height, width).
    """

    source: Size
    window: tuple[int, int, int, int]
    content: Size
    canvas: Size

    @classmethod
    def of(cls, size: Size, backbone: Canvas, mode: FitMode = "keep") -> Fit:
        """The fit of a source of `size` (height, width).

        "keep" resizes the image into a canvas of about image_size² pixels: U-Nets with attention were trained on
        that many positions, and time and memory do not depend on the image's aspect. "crop" takes the largest
        square in the middle, "stretch" squashes to a square, as the official code does. Raises `InputError` for
        an image that is too small or too narrow.
        """
        if mode not in get_args(FitMode):
            raise InputError(f"fit is {mode!r}: use one of {', '.join(get_args(FitMode))}")
        height, width = size
        if min(size) < MIN_SIDE:
            raise InputError(
                f"The image is {width}x{height} pixels: at least {MIN_SIDE}x{MIN_SIDE} are needed"
            )
        multiple = backbone.size_multiple
        side = max(1, round(backbone.image_size / multiple)) * multiple
        whole = (0, 0, height, width)
        if mode == "stretch":
            return cls(size, whole, (side, side), (side, side))
        if mode == "crop":
            short = min(size)
            return cls(
                size, ((height - short) // 2, (width - short) // 2, short, short), (side, side), (side, side)
            )
        if max(size) * multiple**2 > min(size) * side**2:
            limit = (side // multiple) ** 2
            raise InputError(
                f"The image is {width}x{height} pixels, one side over {limit} times the other: crop it (fit 'crop')"
            )
        canvas = _canvas(size, side, multiple)
        return cls(size, whole, _inside(size, canvas), canvas)

    @classmethod
    def covering(cls, size: Size, canvas: Size) -> Fit:
        """The fit of a source of `size` to exactly `canvas`, its aspect kept and what is over cropped evenly."""
        (height, width), scale = size, min(size[0] / canvas[0], size[1] / canvas[1])
        used = max(1, round(canvas[0] * scale)), max(1, round(canvas[1] * scale))
        return cls(size, ((height - used[0]) // 2, (width - used[1]) // 2, *used), canvas, canvas)

    @property
    def familiar(self) -> bool:
        """Whether the canvas has a shape near enough to the square that models are trained on."""
        return max(self.canvas) <= FAMILIAR_ASPECT * min(self.canvas)

    def cut(self, image: Tensor) -> Tensor:
        """The window of the source, at the source's resolution."""
        self._require(image, self.source, "the source")
        top, left, height, width = self.window
        return image[..., top : top + height, left : left + width]

    def apply(self, image: Tensor) -> Tensor:
        """Source to canvas."""
        content = resize(self.cut(image), self.content)
        top, left = self._offset
        bottom, right = (c - o - s for c, o, s in zip(self.canvas, self._offset, self.content, strict=True))
        # Reflection needs more pixels than it adds; very narrow images repeat their edge.
        mode = (
            "reflect"
            if max(top, bottom) < self.content[0] and max(left, right) < self.content[1]
            else "replicate"
        )
        return F.pad(content, (left, right, top, bottom), mode=mode)

    def undo(self, image: Tensor) -> Tensor:
        """Canvas to content: what was filled in is cut off, the model's resolution stays."""
        self._require(image, self.canvas, "the result")
        (top, left), (height, width) = self._offset, self.content
        return image[..., top : top + height, left : left + width]

    @property
    def _offset(self) -> tuple[int, int]:
        return (self.canvas[0] - self.content[0]) // 2, (self.canvas[1] - self.content[1]) // 2

    @staticmethod
    def _require(image: Tensor, size: Size, name: str) -> None:
        if image.ndim != 4 or tuple(image.shape[-2:]) != size:
            raise InputError(f"{name} is {tuple(image.shape)}: this fit is for [B, C, {size[0]}, {size[1]}]")


def cover(image: Tensor, size: Size) -> Tensor:
    """[B, C, H, W] at exactly `size`, its aspect kept and what is over cropped evenly."""
    return Fit.covering((image.shape[-2], image.shape[-1]), size).apply(image)


def resize(image: Tensor, size: Size) -> Tensor:
    """[B, C, H, W] to `size` as Pillow resizes, without its rounding; the input itself where it has that size.

    Images (three channels, [-1, 1]) by Lanczos' filter; masks and alpha (one channel, [0, 1]) by a triangle, which
    rings not.
    """
    if tuple(image.shape[-2:]) == size:
        return image
    picture = image.shape[1] == 3
    rows, columns = (
        _weights(old, new, picture).to(image.device, torch.float32)
        for old, new in zip(image.shape[-2:], size, strict=True)
    )
    resized = rows @ (image.float() @ columns.T)
    return resized.clamp(-1 if picture else 0, 1).to(image.dtype)


def mask_at(size: Size, mask: Tensor) -> Tensor:
    """Return a mask [B, 1, H, W] in [0, 1] at `size` (height, width).

    Raise `InputError` if its aspect is another, by more than a fiftieth and by more than a pixel.
    """
    (height, width), (mask_height, mask_width) = size, mask.shape[-2:]
    off = abs(mask_width * height - mask_height * width)
    if not mask.numel() or off > max(ASPECT_TOLERANCE * mask_height * width, height, width):
        raise InputError(
            f"the mask is {mask_width}x{mask_height} pixels and the image {width}x{height}: give one of the same shape"
        )
    return resize(mask, size)


def enlarging_weights(old: int, new: int) -> Tensor:
    """Return [new, old] in float64: by linear interpolation, each new pixel as a weighted mean of old ones."""
    return _weights(old, new, lanczos=False)


def _weights(old: int, new: int, lanczos: bool) -> Tensor:
    """[new, old] in float64: each new pixel as a weighted mean of old ones."""
    scale = old / new
    stretch = max(scale, 1.0)
    centers = (torch.arange(new, dtype=torch.float64, device="cpu") + 0.5) * scale
    distance = (torch.arange(old, dtype=torch.float64, device="cpu")[None] + 0.5 - centers[:, None]) / stretch
    if lanczos:
        weights = (distance.sinc() * (distance / 3).sinc()).masked_fill(distance.abs() >= 3, 0)
    else:
        weights = (1 - distance.abs()).clamp_min(0)
    return weights / weights.sum(dim=1, keepdim=True)


def _canvas(size: Size, side: int, multiple: int) -> Size:
    """The canvas of about side² pixels that `size` fits into with little to fill in.

    Of all canvases, the one whose area is nearest to side² and whose filling is least, as logarithms; filling counts
    twice, since it is computed for nothing.
    """
    area = math.log(side**2)
    candidates = [
        (rows * multiple, columns * multiple)
        for rows in range(1, (side // multiple) ** 2 + 1)
        for columns in range(1, (side // multiple) ** 2 // rows + side // multiple + 1)
    ]

    def cost(canvas: Size) -> float:
        canvas_area = math.log(canvas[0] * canvas[1])
        scale = min(canvas[0] / size[0], canvas[1] / size[1])
        filling = canvas_area - math.log(size[0] * size[1] * scale**2)
        return abs(canvas_area - area) + 2 * filling

    return min(candidates, key=cost)


def _inside(size: Size, canvas: Size) -> Size:
    """`size` scaled to touch the canvas' edges from inside."""
    scale = min(canvas[0] / size[0], canvas[1] / size[1])
    height, width = (max(1, round(side * scale)) for side in size)
    return min(height, canvas[0]), min(width, canvas[1])
