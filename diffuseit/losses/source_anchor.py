"""Source anchor: pixels stay as in the source, unless another loss changes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor

from .base import Context, FeaturesOf, Label, Labels, Loss, Term, weight_field

Norm = Literal["l1", "l2"]


def l1_distance(image: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute difference of images [B, 3, H, W]: [B]."""
    return (image - target).abs().mean(dim=(1, 2, 3))


def l2_distance(image: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared difference of images [B, 3, H, W]: [B]."""
    return (image - target).square().mean(dim=(1, 2, 3))


@dataclass(frozen=True, kw_only=True)
class SourceAnchorLoss(Loss):
    """Keeps the pixels of pred_xstart near the source.

    The gradient of "l1" is the same everywhere: pixels that the other losses change weakly stay, and pixels that they
    change strongly go. The gradient of "l2" grows with the distance, so that all pixels change, but less.
    """

    labels: ClassVar[Labels] = {"source_anchor": Label("source anchor", "#4fa34f")}

    weight: float = weight_field(200.0)
    norm: Norm = "l1"

    def terms(self, source: Tensor, inputs: Mapping[str, Any], features_of: FeaturesOf) -> Sequence[Term]:
        distance = l1_distance if self.norm == "l1" else l2_distance

        def value(context: Context) -> Tensor:
            return distance(context.features, source)

        return [Term("source_anchor", self.weight, value, view="pred_xstart")]
