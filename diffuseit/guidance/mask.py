"""Masks: [1 or B, 1, H, W] in [0, 1], 1 where an image may change."""

import torch
from torch import Tensor

from ..errors import InputError


def as_mask(mask: Tensor, name: str = "the mask") -> Tensor:
    """A mask of any usual shape, [H, W], [B, H, W], [B, 1, H, W] or [B, H, W, 1], as [B, 1, H, W].

    Raise `InputError`, which calls the mask `name`, for anything else.
    """
    if not isinstance(mask, Tensor) or mask.is_nested:
        raise InputError(f"{name} is a {type(mask).__name__}: give one tensor, [H, W] or [B, H, W]")
    if mask.ndim in (2, 3):
        return mask[None, None] if mask.ndim == 2 else mask[:, None]
    if mask.ndim == 4 and 1 in (mask.shape[1], mask.shape[-1]):
        return mask if mask.shape[1] == 1 else mask.movedim(-1, 1)
    raise InputError(
        f"{name} is {tuple(mask.shape)}: it must be [H, W], [B, H, W], [B, 1, H, W] or [B, H, W, 1]"
    )


def check_mask(mask: Tensor, source: Tensor) -> None:
    """Raises `InputError` for a mask that does not lie on `source` [B, 3, H, W]."""
    if mask.ndim != 4 or mask.shape[1] != 1 or len(mask) not in (1, len(source)):
        raise InputError(
            f"the mask is {tuple(mask.shape)}: it must be [1, 1, H, W], or one for each of {len(source)} images"
        )
    if mask.shape[-2:] != source.shape[-2:]:
        raise InputError(
            f"the mask is {mask.shape[-1]}x{mask.shape[-2]}, the source {source.shape[-1]}x{source.shape[-2]}: "
            "resize it to the source's size"
        )
    if not torch.isfinite(mask).all() or mask.min() < 0 or mask.max() > 1:
        raise InputError("the mask has values outside 0 to 1")


def blend(inside: Tensor, outside: Tensor, mask: Tensor | None) -> Tensor:
    """`inside` where `mask` is 1 (or there is none), `outside` exactly where it is 0."""
    return inside if mask is None else mask * inside + (1 - mask) * outside


def mean_inside(picture: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of each channel where `mask` is 1, [B, C, H, W] -> [B, C, 1, 1]; 0 where it is 0 all over."""
    if mask is None:
        return picture.mean(dim=(-2, -1), keepdim=True)
    weight = mask.sum(dim=(-2, -1), keepdim=True).clamp_min(torch.finfo(mask.dtype).tiny)
    return (picture * mask).sum(dim=(-2, -1), keepdim=True) / weight
