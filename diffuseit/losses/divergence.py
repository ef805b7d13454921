"""Semantic divergence: speeds up the change by pushing [CLS] away from where it just was (Kwon & Ye 2023, eq. 10)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ..schema import number
from .base import Context, FeaturesOf, Label, Labels, Loss, Term, weight_field


def semantic_divergence_loss(cls: Tensor, previous: Tensor) -> Tensor:
    """Return minus the mean squared difference of [CLS] tokens [B, D]: [B]."""
    return -(cls - previous).square().mean(dim=-1)


@dataclass(frozen=True, kw_only=True)
class SemanticDivergenceLoss(Loss):
    """Pushes [CLS] away from that of the previous evaluation (in the first one: of the source).

    It acts until the fraction `until` of the run is over, so that the last steps can settle.
    """

    needs = ("vit",)
    labels: ClassVar[Labels] = {"divergence": Label("divergence", "#a274e0")}

    weight: float = weight_field(100.0)
    until: float = number(0.15, low=0.0, high=1.0)

    def terms(self, source: Tensor, inputs: Mapping[str, Any], features_of: FeaturesOf) -> Sequence[Term]:
        def value(context: Context) -> Tensor:
            return semantic_divergence_loss(context.features.cls, context.previous.cls)

        return [Term("divergence", self.weight, value, inputs["vit"], until=self.until, needs_previous=True)]
