"""Range: keeps the predicted picture's values where pictures live (Crowson 2021; Kwon & Ye 2023)."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from .base import FeaturesOf, Look, Term, check_finite


def range_loss(image: Tensor) -> Tensor:
    """Mean squared distance of values [B, 3, H, W] to the interval [-1, 1]: [B]."""
    return (image - image.clamp(-1, 1)).square().mean(dim=(1, 2, 3))


@dataclass(frozen=True, kw_only=True)
class RangeLoss:
    """Penalises values of pred_xstart outside [-1, 1]; range restarts watch its weighted value."""

    weight: float = 200.0

    def __post_init__(self) -> None:
        check_finite(self)

    def item(self, index: int) -> "RangeLoss":
        """The loss of one picture of the batch: itself."""
        return self

    def bind(self, source: Tensor, features_of: FeaturesOf) -> Sequence[Term]:
        def value(look: Look) -> Tensor:
            return range_loss(look.features)

        return [Term("range", self.weight, value, view="pred_xstart")]
