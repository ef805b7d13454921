"""ComfyUI's pictures [B, H, W, C] in [0, 1] and the core's [B, 3, H, W] in [-1, 1]."""

import torch
from torch import Tensor

from ..diffuseit.errors import InputError

ROUNDING = 1e-6  # far more than the way to [-1, 1] and back costs in float32, far less than a level of 255


def to_core(image: Tensor, name: str = "image") -> Tensor:
    """A copy that may take part in autograd. Raises `InputError` for what is no RGB picture."""
    if not isinstance(image, Tensor) or image.is_nested or image.ndim != 4:
        raise InputError(f"{name}: the pictures of a batch have several sizes; resize them to one size first")
    channels = image.shape[-1]
    if channels == 4:
        raise InputError(
            f"{name}: the picture has an alpha channel; remove it first (Split Image with Alpha)"
        )
    if channels != 3:
        raise InputError(f"{name}: the picture has {channels} channels instead of red, green and blue")
    if not len(image):
        raise InputError(f"{name}: the batch is empty")
    return image.detach().to(torch.float32).movedim(-1, 1).mul(2).sub(1).contiguous()


def to_comfy(image: Tensor) -> Tensor:
    """The core's pictures for ComfyUI. The 8-bit pictures that `to_core` took come back bit by bit.

    ComfyUI cuts off what lies between two levels when it saves, so that a rounding error would cost a whole level.
    """
    picture = image.detach().float().add(1).div(2).clamp(0, 1)
    level = picture.mul(255).round().div(255)
    picture = torch.where((picture - level).abs() < ROUNDING, level, picture)
    return picture.movedim(1, -1).contiguous()


def mask_to_core(mask: Tensor, picture: Tensor, name: str = "mask") -> Tensor:
    """[1 or B, H, W] -> [1 or B, 1, H, W] for `picture` [B, 3, H, W]. Raises `InputError` if it does not lie on it."""
    mask = mask.detach().to(torch.float32, copy=True)
    mask = mask[None] if mask.ndim == 2 else mask
    if mask.shape[-2:] != picture.shape[-2:]:
        size, wanted = (f"{x.shape[-1]}x{x.shape[-2]}" for x in (mask, picture))
        hint = (
            "; Load Image gives an empty 64x64 mask where a picture has no alpha channel"
            if size == "64x64"
            else ""
        )
        raise InputError(f"{name}: the mask is {size} and the picture {wanted}: resize the mask{hint}")
    if len(mask) not in (1, len(picture)):
        raise InputError(f"{name}: {len(mask)} masks for {len(picture)} pictures: give one, or one for each")
    if not mask.max() > 0:
        raise InputError(f"{name}: the mask is empty, so nothing would change: paint what may change")
    return mask.clamp(0, 1)[:, None]
