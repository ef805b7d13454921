"""ComfyUI's images [B, H, W, C] in [0, 1] and the core's [B, 3, H, W] in [-1, 1].

What comes from ComfyUI lies on any device and in any precision; what the core gets is always float32 on the CPU.
"""

from typing import Any

import torch
from torch import Tensor

from ..diffuseit.errors import InputError
from ..diffuseit.guidance.mask import as_mask
from ..diffuseit.schema import shown

ROUNDING = 1e-6  # far more than the way to [-1, 1] and back costs in float32, far less than a level of 255


def to_core(image: Any, name: str = "image") -> Tensor:
    """A copy on the CPU that may take part in autograd. Raise `InputError` for what is no RGB image.

    8-bit images that came in half precision are put back on their levels.
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
    """The core's images for ComfyUI. The 8-bit images that `to_core` took come back bit by bit.

    ComfyUI cuts off what lies between two levels when it saves, so that a rounding error would cost a whole level.
    """
    picture = image.detach().float().add(1).div(2).clamp(0, 1)
    return _on_levels(picture, ROUNDING).movedim(1, -1).contiguous()


def mask_to_core(mask: Tensor, picture: Tensor, name: str = "mask") -> Tensor:
    """A mask of any usual shape as [1 or B, 1, H, W] on the CPU for `picture` [B, 3, H, W].

    Raise `InputError` if it does not lie on the image, or lets nothing change.
    """
    mask = as_mask(mask, f"{name}: the mask").detach().to("cpu", torch.float32, copy=True)
    if mask.shape[-2:] != picture.shape[-2:]:
        size, wanted = (f"{x.shape[-1]}x{x.shape[-2]}" for x in (mask, picture))
        hint = (
            "; Load Image gives an empty 64x64 mask if an image has no alpha channel"
            if size == "64x64"
            else ""
        )
        raise InputError(f"{name}: the mask is {size} and the image {wanted}: resize the mask{hint}")
    if len(mask) not in (1, len(picture)):
        raise InputError(f"{name}: {len(mask)} masks for {len(picture)} images: give one, or one for each")
    if not mask.isfinite().all():
        raise InputError(f"{name}: the mask has values that are not finite; check the node that made it")
    if not mask.max() > 0:
        raise InputError(f"{name}: the mask is empty, so nothing would change: paint what may change")
    return mask.clamp(0, 1)


def _on_levels(picture: Tensor, tolerance: float) -> Tensor:
    """Values that are nearer than `tolerance` to one of the 256 levels of 8 bits, at that level."""
    level = picture.mul(255).round().div(255)
    return torch.where((picture - level).abs() < tolerance, level, picture)
