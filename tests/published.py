"""Keys and shapes of published checkpoints, as the libraries that read them have them."""

import timm
import torch
from torch import Tensor

from diffuseit.models.checkpoint import Signature


def timm_name(name: str) -> str:
    """timm's name of a row: "dinov2-b14-reg" is vit_base_patch14_reg4_dinov2.lvd142m."""
    family, shape, *rest = name.split("-")
    size = {"s": "small", "b": "base", "l": "large"}[shape[0]]
    if family == "dino":
        return f"vit_{size}_patch{shape[1:]}_224.dino"
    data = {"dinov2": "lvd142m", "dinov3": "lvd1689m"}[family]
    return f"vit_{size}_patch{shape[1:]}{'_reg4' if rest else ''}_{family}.{data}"


def timm_state(name: str) -> dict[str, Tensor]:
    with torch.device("meta"):
        return timm.create_model(timm_name(name), num_classes=0).state_dict()


def zeros(shapes: Signature) -> dict[str, Tensor]:
    """A state dict of these shapes that takes next to no memory."""
    return {key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}
