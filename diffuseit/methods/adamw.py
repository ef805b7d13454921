"""Optimizer steps on pred_xstart, which cost no pass through the denoising network."""

from collections.abc import Callable

import torch
from torch import Tensor

START = 1e-8
BETAS = 0.9, 0.999
EPSILON = 1e-8
WEIGHT_DECAY = 0.01


def adamw(pred_xstart: Tensor, gradient: Callable[[Tensor], Tensor], steps: int, rate: float) -> Tensor:
    """`pred_xstart` plus an offset found by `steps` steps of AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101).

    `gradient(y)` is d(loss)/dy. Starts afresh at each call with PyTorch's constants, as AGG's code does; pixels,
    so also images, do not depend on each other.
    """
    offset = torch.full_like(pred_xstart, START)
    mean, square = torch.zeros_like(offset), torch.zeros_like(offset)
    for step in range(1, steps + 1):
        g = gradient(pred_xstart + offset)
        mean = BETAS[0] * mean + (1 - BETAS[0]) * g
        square = BETAS[1] * square + (1 - BETAS[1]) * g.square()
        deviation = (square / (1 - BETAS[1] ** step)).sqrt()
        offset = (1 - rate * WEIGHT_DECAY) * offset
        offset = offset - rate * (mean / (1 - BETAS[0] ** step)) / (deviation + EPSILON)
    return pred_xstart + offset
