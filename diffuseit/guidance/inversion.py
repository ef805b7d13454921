"""DDIM inversion: the noise that an image itself comes from (Song et al. 2021, arXiv 2010.02502)."""

from collections.abc import Callable, Container
from dataclasses import dataclass

import torch
from torch import Tensor

from ..models.base import Backbone
from ..models.schedule import Schedule


@dataclass(frozen=True)
class Inversion:
    """`x` [B, C, H, W] at the level that was asked for, and the network's predictions on the way, by level."""

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
    """Walks `x_start` [B, C, H, W] up to `level` with deterministic DDIM steps, backwards.

    Each level below costs one pass of the network, `level` itself only where its prediction is to be kept.
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
