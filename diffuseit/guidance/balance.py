"""Adaptive weights: each loss counts as much as its weight says, whatever the size of its gradient.

Gradients of different losses differ by orders of magnitude and change over the run and with the number of steps.
After each is divided by the running mean of its norm, only the importances decide. Balancing by gradient norms is the
idea of GradNorm (Chen et al. 2018, arXiv 1711.02257), here without learned weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..losses.base import View

BalanceMode = Literal["fixed", "adaptive"]
"""Whether weights multiply the losses ("fixed", as in the paper), or say how much each loss counts ("adaptive")."""

Key = tuple[int, str]
"""The index of a loss and the name of a term, since two losses of one kind have two importances."""


@dataclass(frozen=True)
class Part:
    """The gradient of one term at a view [B, 3, H, W], before weights, and its importance [B, 1, 1, 1]."""

    view: View
    gradient: Tensor
    importance: Tensor


class Balance:
    """The running mean norms of a run, for each term and image, over the evaluations in which they were not 0."""

    def __init__(self) -> None:
        self._sum: dict[Key, Tensor] = {}
        self._count: dict[Key, Tensor] = {}

    def shares(self, parts: Mapping[Key, Part], learn: bool = True) -> dict[Key, tuple[View, Tensor]]:
        """Return each term's view and importance * g / max(mean norm, norm of g), whose rms is at most `importance`.

        A term that fades, such as the range loss once all values are in range, therefore fades here too. Without
        `learn` the means stay as they are.
        """
        return {key: (part.view, self._share(key, part, learn)) for key, part in parts.items()}

    def _share(self, key: Key, part: Part, learn: bool) -> Tensor:
        norm = part.gradient.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
        total, count = (
            self._sum.get(key, torch.zeros_like(norm)),
            self._count.get(key, torch.zeros_like(norm)),
        )
        total, count = total + norm, count + (norm > 0)
        if learn:
            self._sum[key], self._count[key] = total, count
        reference = torch.maximum(total / count.clamp_min(1), norm).clamp_min(torch.finfo(norm.dtype).tiny)
        return part.importance * part.gradient / reference
