"""Semantic divergence: hurries the change by pushing [CLS] away from where it just was (Kwon & Ye 2023, eq. 10)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from .base import FeaturesOf, Look, Term, check_finite, require
from .image_style import cls_distance

if TYPE_CHECKING:
    from ..models.vit import ViT


@dataclass(frozen=True, kw_only=True)
class SemanticDivergenceLoss:
    """Minus the [CLS] distance to the previous evaluation's view (at first: to the source).

    Works only while the step's index is above `until` (steps count down to 0), so that the last ones settle.
    """

    vit: "ViT | None" = None
    weight: float = 100.0
    until: int = 50

    def __post_init__(self) -> None:
        check_finite(self)

    def item(self, index: int) -> "SemanticDivergenceLoss":
        """The loss of one picture of the batch: itself."""
        return self

    def bind(self, source: Tensor, features_of: FeaturesOf) -> Sequence[Term]:
        vit = require(self.vit, self, "a ViT")

        def value(look: Look) -> Tensor:
            return -cls_distance(look.features.cls, look.previous.cls)

        def active(index: int) -> bool:
            return index > self.until

        return [Term("divergence", self.weight, value, vit, active=active, needs_previous=True)]
