"""Anchor: holds the run to the stored DDIM inversion of the source (AGG, Kwon & Ye 2023, arXiv 2306.04396)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from .base import FeaturesOf, Label, Labels, Look, Loss, Term, weight_field


def anchor_loss(image: Tensor, inversion: Tensor) -> Tensor:
    """Mean absolute difference of images [B, 3, H, W]: [B]."""
    return (image - inversion).abs().mean(dim=(1, 2, 3))


@dataclass(frozen=True, kw_only=True)
class AnchorLoss(Loss):
    """Keeps pred_xstart close to the network's prediction at the same level of the source's inversion.

    It works with any method. A run that does not start at the inversion pays for it all the same: one forward pass a
    level.
    """

    labels: ClassVar[Labels] = {"anchor": Label("anchor", "#b8912a")}

    weight: float = weight_field(200.0)

    def terms(self, source: Tensor, inputs: Mapping[str, Any], features_of: FeaturesOf) -> Sequence[Term]:
        def value(look: Look) -> Tensor:
            assert look.inversion is not None
            return anchor_loss(look.features, look.inversion)

        return [Term("anchor", self.weight, value, view="pred_xstart", needs_inversion=True)]
