"""A loss that acts once per step, in a method that takes further steps on the prediction."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from .base import FeaturesOf, Loss, Term


@dataclass(frozen=True)
class OuterLoss:
    """`loss` without a part in inner steps: its network, perhaps a large one, runs once per step only."""

    loss: Loss

    def item(self, index: int) -> "OuterLoss":
        """The loss of one picture of the batch."""
        return OuterLoss(self.loss.item(index))

    def bind(self, source: Tensor, features_of: FeaturesOf) -> Sequence[Term]:
        return [replace(term, inner=False) for term in self.loss.bind(source, features_of)]
