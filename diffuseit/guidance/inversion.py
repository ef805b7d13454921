"""DDIM inversion: the noise from which DDIM makes a given image (Song et al. 2021, arXiv 2010.02502)."""

from collections.abc import Callable, Container
from dataclasses import dataclass

import torch
from torch import Tensor

from ..models.base import Backbone
from ..models.schedule import Schedule


@dataclass(frozen=True)
class Inversion:
    """`x` [B, C, H, W] at the requested level, and the network's predictions at the levels to keep."""

    x: Tensor
    pred_xstart: dict[int, Tensor]


@torch.no_grad()
def invert(
    backbone: Backbone,
    schedule: Schedule,
    x_start: Tensor,
    level: int,
    keep: Container[int],
    labels: Callable[[], Tensor | None],
) -> Inversion:
    """Run deterministic DDIM steps in reverse, from `x_start` [B, C, H, W] up to `level`.

    Each level below costs one forward pass of the network, and `level` itself only if its prediction is kept.
    """
    x, kept = x_start, {}
    for index in range(level + (level in keep)):
        pred_xstart = backbone.predict(x, schedule, index, labels()).pred_xstart
        if index in keep:
            kept[index] = pred_xstart
        if index < level:
            eps = schedule.eps_from_xstart(x, pred_xstart, index)
            alpha_next = float(schedule.alphas_cumprod[index + 1])
            x = alpha_next**0.5 * pred_xstart + (1 - alpha_next) ** 0.5 * eps
    return Inversion(x, kept)
