"""Source anchor: pixels stay as the source has them, unless another loss wants them otherwise."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from ..errors import InputError
from .base import FeaturesOf, Look, Term, check_finite
from .image_style import pixel_distance

Norm = Literal["l1", "l2"]


def absolute_distance(image: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of pictures [B, 3, H, W]: [B]."""
    return (image - target).abs().mean(dim=(1, 2, 3))


@dataclass(frozen=True, kw_only=True)
class SourceAnchorLoss:
    """Pulls the pixels of pred_xstart back to the source.

    "l1" pulls everywhere with the same force: what the other losses barely push stays, what they push hard goes.
    "l2" pulls the harder the further a pixel is away, so that all change, and less.
    Raises `InputError` for another norm or a weight that is not finite.
    """

    weight: float = 200.0
    norm: Norm = "l1"

    def __post_init__(self) -> None:
        check_finite(self)
        if self.norm not in get_args(Norm):
            raise InputError(f"SourceAnchorLoss.norm is {self.norm!r}: use 'l1' or 'l2'")

    def item(self, index: int) -> "SourceAnchorLoss":
        """The loss of one picture of the batch: itself."""
        return self

    def bind(self, source: Tensor, features_of: FeaturesOf) -> Sequence[Term]:
        distance = absolute_distance if self.norm == "l1" else pixel_distance

        def value(look: Look) -> Tensor:
            return distance(look.features, source)

        return [Term("source_anchor", self.weight, value, view="pred_xstart")]
