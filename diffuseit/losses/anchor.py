"""Anchor: holds the run to the stored DDIM inversion of the source (AGG, Kwon & Ye 2023, arXiv 2306.04396)."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from .base import FeaturesOf, Look, Term, check_finite


def anchor_loss(image: Tensor, inversion: Tensor) -> Tensor:
    """Mean absolute difference of pictures [B, 3, H, W]: [B]."""
    return (image - inversion).abs().mean(dim=(1, 2, 3))


@dataclass(frozen=True, kw_only=True)
class AnchorLoss:
    """Keeps pred_xstart close to what the network predicted at the same level of the source's inversion.

    With any method; one that starts elsewhere pays for the inversion, one network pass per level, all the same.
    Raises `InputError` for a weight that is not finite.
    """

    weight: float = 200.0

    def __post_init__(self) -> None:
        check_finite(self)

    def item(self, index: int) -> "AnchorLoss":
        """The loss of one picture of the batch: itself."""
        return self

    def bind(self, source: Tensor, features_of: FeaturesOf) -> Sequence[Term]:
        def value(look: Look) -> Tensor:
            assert look.inversion is not None
            return anchor_loss(look.features, look.inversion)

        return [Term("anchor", self.weight, value, view="pred_xstart", needs_inversion=True)]
