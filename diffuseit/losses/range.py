"""Range: keeps the values of the prediction in the range of images (Crowson 2021; Kwon & Ye 2023)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from .base import FeaturesOf, Label, Labels, Look, Loss, Term, weight_field


def range_loss(image: Tensor) -> Tensor:
    """Mean squared distance of values [B, 3, H, W] to the interval [-1, 1]: [B]."""
    return (image - image.clamp(-1, 1)).square().mean(dim=(1, 2, 3))


@dataclass(frozen=True, kw_only=True)
class RangeLoss(Loss):
    """Penalizes values of pred_xstart outside [-1, 1]. Restarts watch its weighted value."""

    labels: ClassVar[Labels] = {"range": Label("range", "#8f9aa8")}

    weight: float = weight_field(200.0)

    def terms(self, source: Tensor, inputs: Mapping[str, Any], features_of: FeaturesOf) -> Sequence[Term]:
        def value(look: Look) -> Tensor:
            return range_loss(look.features)

        return [Term("range", self.weight, value, view="pred_xstart")]
