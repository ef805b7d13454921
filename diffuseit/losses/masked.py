"""A loss that acts in a part of the picture only."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from ..guidance.mask import check_mask
from .base import FeaturesOf, Loss, Term


@dataclass(frozen=True)
class MaskedLoss:
    """`loss` with its gradient multiplied by `mask` [1 or B, 1, H, W] in [0, 1]: it sees all, and moves what is 1.

    Raises `InputError` for a mask of another size than the source.
    """

    loss: Loss
    mask: Tensor

    def item(self, index: int) -> "MaskedLoss":
        """The loss of one picture of the batch."""
        mask = self.mask if len(self.mask) == 1 else self.mask[index : index + 1]
        return MaskedLoss(self.loss.item(index), mask)

    def bind(self, source: Tensor, features_of: FeaturesOf) -> Sequence[Term]:
        check_mask(self.mask, source)
        mask = self.mask.to(source)
        return [
            replace(term, mask=mask if term.mask is None else mask * term.mask)
            for term in self.loss.bind(source, features_of)
        ]
