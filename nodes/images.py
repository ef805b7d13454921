"""ComfyUI's images [B, H, W, C] in [0, 1] and the core's [B, 3, H, W] in [-1, 1].

ComfyUI's tensors are on any device and of any precision. The core always gets float32 on the CPU.
"""

from typing import Any

import torch
from torch import Tensor

from ..diffuseit.errors import InputError
from ..diffuseit.guidance.mask import as_mask
from ..diffuseit.images.resize import mask_at
from ..diffuseit.schema import shown

NO_MASK_SIZE = (64, 64)
"""The size of the mask that Load Image gives for an image without transparency. It is 0 everywhere."""

ROUNDING = 1e-6  # far more than the way to [-1, 1] and back costs in float32, far less than a level of 255


def to_core(image: Any, name: str = "image") -> Tensor:
    """Return a copy on the CPU that autograd accepts. Raise `InputError` if `image` is not a batch of RGB images.

    8-bit images that come in half precision are rounded back to their levels.
    """
    if isinstance(image, list) or (isinstance(image, Tensor) and (image.is_nested or image.ndim != 4)):
        raise InputError(f"{name}: the images of a batch have different sizes; resize them to one size first")
    if not isinstance(image, Tensor):
        raise InputError(f"{name}: {shown(image)} is not an image; connect one")
    channels = image.shape[-1]
    if channels == 4:
        raise InputError(f"{name}: the image has an alpha channel; remove it first (Split Image with Alpha)")
    if channels != 3:
        raise InputError(f"{name}: the image has {channels} channels instead of red, green, and blue")
    if not image.numel():
        raise InputError(f"{name}: the batch is empty")
    picture = image.detach().to("cpu", torch.float32)
    if not picture.isfinite().all():
        raise InputError(f"{name}: the image has values that are not finite; check the node that made it")
    if image.dtype in (torch.float16, torch.bfloat16):
        picture = _on_levels(picture, torch.finfo(image.dtype).eps / 2)
    return picture.clamp(0, 1).movedim(-1, 1).mul(2).sub(1).contiguous()


def to_comfy(image: Tensor) -> Tensor:
    """Return the core's images for ComfyUI. 8-bit images that went through `to_core` come back bit by bit.

    ComfyUI rounds down when it saves, so a rounding error would cost a whole level.
    """
    picture = image.detach().float().add(1).div(2).clamp(0, 1)
    return _on_levels(picture, ROUNDING).movedim(1, -1).contiguous()


def mask_to_core(mask: Tensor, picture: Tensor, name: str = "mask") -> Tensor | None:
    """Return a mask of any usual shape as [1 or B, 1, H, W] on the CPU, at the size of `picture` [B, 3, H, W].

    None for the mask that Load Image gives for an image without transparency. Raise `InputError` if the mask does not
    fit the image, or lets nothing change.
    """
    mask = as_mask(mask, f"{name}: the mask").detach().to("cpu", torch.float32, copy=True)
    if len(mask) not in (1, len(picture)):
        raise InputError(f"{name}: {len(mask)} masks for {len(picture)} images: give one, or one for each")
    if not mask.isfinite().all():
        raise InputError(f"{name}: the mask has values that are not finite; check the node that made it")
    if mask.shape[-2:] == NO_MASK_SIZE and not mask.any():
        return None
    try:
        mask = mask_at((picture.shape[-2], picture.shape[-1]), mask.clamp(0, 1))
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    if not mask.max() > 0:
        raise InputError(f"{name}: the mask is empty, so nothing would change: paint what may change")
    return mask


def _on_levels(picture: Tensor, tolerance: float) -> Tensor:
    """Return `picture` with values nearer than `tolerance` to one of the 256 levels of 8 bits rounded to it."""
    level = picture.mul(255).round().div(255)
    return torch.where((picture - level).abs() < tolerance, level, picture)
