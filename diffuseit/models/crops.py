"""Random crops of the CLIP loss: drawn on the CPU from seeded generators, applied to a batch at once.

The distribution and the pixels are those of torchvision's RandomRotation(10), RandomResizedCrop and
RandomHorizontalFlip on tensors, which the official code applies to one crop after the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

DEGREES = 10.0
SCALE = (0.8, 1.0)
RATIO = (0.9, 1.1)


@dataclass(frozen=True)
class Crops:
    """n crops for each of B pictures; every field [B, n], in the pixels of the picture."""

    angle: Tensor  # degrees, counter-clockwise, float64
    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor
    flip: Tensor  # bool

    def __len__(self) -> int:
        """Crops per picture."""
        return self.angle.shape[1]

    def split(self, n: int) -> list[Crops]:
        """Parts of at most `n` crops per picture."""
        return [
            Crops(**{name: field[:, start : start + n] for name, field in vars(self).items()})
            for start in range(0, len(self), n)
        ]


def _draw_box(generator: torch.Generator, height: int, width: int) -> tuple[int, int, int, int]:
    """(top, left, height, width) of one RandomResizedCrop box."""
    low, high = torch.log(torch.tensor(RATIO)).tolist()
    for _ in range(10):
        area = height * width * torch.empty(1).uniform_(*SCALE, generator=generator).item()
        ratio = torch.exp(torch.empty(1).uniform_(low, high, generator=generator)).item()
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            top = int(torch.randint(0, height - h + 1, (1,), generator=generator))
            left = int(torch.randint(0, width - w + 1, (1,), generator=generator))
            return top, left, h, w
    h, w = height, width
    if width < height * RATIO[0]:
        h = round(width / RATIO[0])
    elif width > height * RATIO[1]:
        w = round(height * RATIO[1])
    return (height - h) // 2, (width - w) // 2, h, w


def draw_crops(generators: Sequence[torch.Generator], n: int, image_size: tuple[int, int]) -> Crops:
    """n crops of pictures of `image_size` (height, width); one CPU generator per picture of the batch."""
    angles, boxes, flips = [], [], []
    for generator in generators:
        for _ in range(n):
            angles.append(torch.empty(1).uniform_(-DEGREES, DEGREES, generator=generator).item())
            boxes.append(_draw_box(generator, *image_size))
            flips.append(torch.rand(1, generator=generator).item() < 0.5)
    shape = (len(generators), n)
    top, left, height, width = torch.tensor(boxes).T.reshape(4, *shape)
    angle = torch.tensor(angles, dtype=torch.float64).reshape(shape)
    return Crops(angle, top, left, height, width, torch.tensor(flips).reshape(shape))


def _rotate(image: Tensor, angle: Tensor) -> Tensor:
    """Nearest-neighbor rotation about the center: [B, C, H, W] and degrees [B, n] -> [B, n, C, H, W].

    Which pixel is nearest comes from `grid_sample` of a map of the pixel numbers, so that ties fall as in
    torchvision. The pixels themselves are gathered: `grid_sample` has no backward on MPS.
    """
    batch, n = angle.shape
    channels, height, width = image.shape[1:]
    theta = torch.deg2rad(angle.cpu().double().reshape(-1, 1, 1))
    cos, sin = theta.cos().float().to(image.device), theta.sin().float().to(image.device)
    x = torch.arange(width, device=image.device, dtype=torch.float32) - 0.5 * (width - 1)
    y = (torch.arange(height, device=image.device, dtype=torch.float32) - 0.5 * (height - 1)).unsqueeze(-1)
    half_width, half_height = 0.5 * width, 0.5 * height
    # addcmul rounds as the matrix product in torchvision's grid does (one fused multiply-add).
    across = torch.addcmul(x * (cos / half_width), y, -sin / half_width)
    down = torch.addcmul(x * (sin / half_height), y, cos / half_height)
    grid = torch.stack([across, down], dim=-1)
    # 1 + column and 1 + row of each pixel; 0 outside.
    columns = torch.arange(1, width + 1, device=image.device, dtype=torch.float32).expand(height, width)
    rows = (
        torch.arange(1, height + 1, device=image.device, dtype=torch.float32)
        .unsqueeze(-1)
        .expand(height, width)
    )
    numbers = torch.stack([columns, rows]).expand(batch * n, 2, height, width)
    column, row = F.grid_sample(numbers, grid, mode="nearest", align_corners=False).long().unbind(1)
    inside = (column > 0).view(batch, n, 1, -1)
    index = ((row - 1) * width + (column - 1)).view(batch, n, 1, -1).clamp(min=0)
    pixels = image.flatten(2).unsqueeze(1).expand(batch, n, channels, height * width)
    rotated = pixels.gather(3, index.expand(batch, n, channels, height * width)) * inside
    return rotated.view(batch, n, channels, height, width)


def _resampling(start: Tensor, length: Tensor, side: int, size: int, *, antialias: bool) -> Tensor:
    """Matrices [K, size, side] that cut `length` pixels from `start` on and resize them to `size`.

    Bilinear with half-pixel centers: `F.interpolate(..., align_corners=False)` of the cut. With
    `antialias` the triangle widens to the scale when shrinking.
    """
    start, length = start.double().view(-1, 1, 1), length.double().view(-1, 1, 1)
    scale = length / size
    source = (torch.arange(size, dtype=torch.float64).view(1, -1, 1) + 0.5) * scale - 0.5
    pixel = torch.arange(side, dtype=torch.float64).view(1, 1, -1) - start
    reach = scale.clamp(min=1) if antialias else 1.0
    weight = (1 - (pixel - source).abs() / reach).clamp(min=0) * ((pixel >= 0) & (pixel < length))
    return weight / weight.sum(-1, keepdim=True)


def apply_crops(image: Tensor, crops: Crops, size: int, *, antialias: bool = False) -> Tensor:
    """Pictures [B, C, H, W] -> their crops [B * n, C, size, size]; outside the picture is 0.

    Rotation, then crop and resize, then flip; differentiable in `image`.
    """
    batch, n = crops.angle.shape
    channels, height, width = image.shape[1:]
    cpu = [
        field.reshape(-1).cpu() for field in (crops.top, crops.height, crops.left, crops.width, crops.flip)
    ]
    top, box_height, left, box_width, flip = cpu
    vertical = _resampling(top, box_height, height, size, antialias=antialias)
    horizontal = _resampling(left, box_width, width, size, antialias=antialias)
    horizontal = torch.where(flip.view(-1, 1, 1), horizontal.flip(1), horizontal)

    rotated = _rotate(image, crops.angle).reshape(batch * n, channels, height, width)
    with torch.autocast(image.device.type, enabled=False):
        vertical, horizontal = (matrix.to(image.device, image.dtype) for matrix in (vertical, horizontal))
        return torch.einsum("kyh,kchx->kcyx", vertical, torch.einsum("kchw,kxw->kchx", rotated, horizontal))
