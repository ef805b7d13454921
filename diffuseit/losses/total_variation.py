"""Total variation: neighbouring pixels agree, so that speckle goes and edges cost what they are high."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from .base import FeaturesOf, Look, Term, check_finite


def total_variation(image: Tensor) -> Tensor:
    """Mean absolute difference of neighbours in rows plus that in columns (Rudin, Osher & Fatemi 1992), [B].

    The anisotropic form, for pictures [B, 3, H, W].
    """
    across = (image[..., 1:] - image[..., :-1]).abs().mean(dim=(1, 2, 3))
    down = (image[..., 1:, :] - image[..., :-1, :]).abs().mean(dim=(1, 2, 3))
    return across + down


@dataclass(frozen=True, kw_only=True)
class TotalVariationLoss:
    """Smooths pred_xstart. Raises `InputError` for a weight that is not finite."""

    weight: float = 20.0

    def __post_init__(self) -> None:
        check_finite(self)

    def item(self, index: int) -> "TotalVariationLoss":
        """The loss of one picture of the batch: itself."""
        return self

    def bind(self, source: Tensor, features_of: FeaturesOf) -> Sequence[Term]:
        def value(look: Look) -> Tensor:
            return total_variation(look.features)

        return [Term("total_variation", self.weight, value, view="pred_xstart")]
