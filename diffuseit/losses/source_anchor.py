"""Source anchor: pixels stay as in the source, unless another loss wants them otherwise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor

from .base import FeaturesOf, Label, Labels, Look, Loss, Term, weight_field

Norm = Literal["l1", "l2"]


def l1_distance(image: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of images [B, 3, H, W]: [B]."""
    return (image - target).abs().mean(dim=(1, 2, 3))


def l2_distance(image: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of images [B, 3, H, W]: [B]."""
    return (image - target).square().mean(dim=(1, 2, 3))


@dataclass(frozen=True, kw_only=True)
class SourceAnchorLoss(Loss):
    """Pulls the pixels of pred_xstart back to the source.

    "l1" pulls everywhere with the same force: pixels that the other losses barely push stay, those they push hard go.
    "l2" pulls harder the further a pixel is away, so that all change, and less.
    """

    labels: ClassVar[Labels] = {"source_anchor": Label("source anchor", "#4fa34f")}

    weight: float = weight_field(200.0)
    norm: Norm = "l1"

    def terms(self, source: Tensor, inputs: Mapping[str, Any], features_of: FeaturesOf) -> Sequence[Term]:
        distance = l1_distance if self.norm == "l1" else l2_distance

        def value(look: Look) -> Tensor:
            return distance(look.features, source)

        return [Term("source_anchor", self.weight, value, view="pred_xstart")]
