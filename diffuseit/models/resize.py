"""Deterministic resizing as torchvision does it on tensors, in plain torch."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def output_size(height: int, width: int, shorter: int, longest: int | None = None) -> tuple[int, int]:
    """(height, width) with the shorter side at `shorter`, less where the longer would exceed `longest`."""
    low, high = shorter, int(shorter * max(height, width) / min(height, width))
    if longest is not None and high > longest:
        low, high = max(1, int(longest * low / high)), longest
    return (low, high) if height <= width else (high, low)


def resize(image: Tensor, size: tuple[int, int], *, antialias: bool = False) -> Tensor:
    """[B, C, H, W] -> [B, C, *size], bilinear, half-pixel centers; the input itself if it has that size."""
    if tuple(image.shape[-2:]) == size:
        return image
    return F.interpolate(image, size, mode="bilinear", align_corners=False, antialias=antialias)


def resize_shorter(
    image: Tensor, shorter: int, longest: int | None = None, *, antialias: bool = False
) -> Tensor:
    """torchvision's `Resize(shorter, max_size=longest)` on a tensor [B, C, H, W]."""
    height, width = image.shape[-2:]
    return resize(image, output_size(height, width, shorter, longest), antialias=antialias)


def center_crop(image: Tensor, size: int) -> Tensor:
    """The central `size` x `size` pixels of [B, C, H, W], both sides at least `size`."""
    top, left = (round((side - size) / 2) for side in image.shape[-2:])
    return image[..., top : top + size, left : left + size]
