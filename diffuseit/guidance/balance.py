"""Adaptive weights: each loss counts as much as the user says, whatever the size of its gradient.

Gradients of different losses differ by orders of magnitude and change over the run and with the number of steps.
Dividing each by the running mean of its own norm leaves the importances alone to decide; balancing by gradient norms
is GradNorm's idea (Chen et al. 2018, arXiv 1711.02257), here without learned weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..losses.base import View

BalanceMode = Literal["fixed", "adaptive"]
"""Weights multiply the losses ("fixed", as the paper has it), or say how much each of them counts ("adaptive")."""

Key = tuple[int, str]
"""A loss's place in the list and a term's name: two losses of one kind have two importances."""


@dataclass(frozen=True)
class Part:
    """A term's own gradient at a view [B, 3, H, W], before weights, and its importance [B, 1, 1, 1]."""

    view: View
    gradient: Tensor
    importance: Tensor


class Balance:
    """The running mean norms of a run, one for each term and image, over the evaluations where it was not 0."""

    def __init__(self) -> None:
        self._sum: dict[Key, Tensor] = {}
        self._count: dict[Key, Tensor] = {}

    def shares(self, parts: Mapping[Key, Part], learn: bool = True) -> dict[Key, tuple[View, Tensor]]:
        """Each term's view and importance * g / max(mean norm, norm of g): of rms `importance` at most.

        A term that fades, as the range loss does once all values are in range, so fades here too. Without `learn`
        the means stay as they are.
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
