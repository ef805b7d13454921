"""Image style: the [CLS] token and the colours of a target picture (Kwon & Ye 2023, eq. 9)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import Tensor

from ..errors import InputError
from .base import FeaturesOf, Look, Term, View, check_finite, require

if TYPE_CHECKING:
    from ..models.vit import ViT


def cls_distance(cls: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of [CLS] tokens [B, D]: [B]."""
    return (cls - target).square().mean(dim=-1)


def pixel_distance(image: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of pictures [B, 3, H, W]: [B]."""
    return (image - target).square().mean(dim=(1, 2, 3))


@dataclass(frozen=True, kw_only=True)
class ImageStyleLoss:
    """Pulls towards the style of `target` [1 or B, 3, H, W] in [-1, 1], of the source's size.

    `cls` weighs the distance of [CLS] tokens, `pixels` that of the pictures themselves, which looks at
    `pixels_view` (None: at the sampler's). Raises `InputError` for a target of another size or settings that are
    not finite.
    """

    vit: "ViT | None" = None
    target: Tensor | None = None
    cls: float = 2000.0
    pixels: float = 3000.0
    pixels_view: View | None = None

    def __post_init__(self) -> None:
        check_finite(self)

    def item(self, index: int) -> "ImageStyleLoss":
        """The loss of one picture of the batch."""
        if self.target is None or len(self.target) == 1:
            return self
        return replace(self, target=self.target[index : index + 1])

    def bind(self, source: Tensor, features_of: FeaturesOf) -> Sequence[Term]:
        vit = require(self.vit, self, "a ViT")
        target: Tensor = require(self.target, self, "a target picture")
        if target.shape[1:] != source.shape[1:] or len(target) not in (1, len(source)):
            raise InputError(
                f"the style picture is {tuple(target.shape)}, the source {tuple(source.shape)}: "
                "resize it to the source's size, one for all or one for each"
            )
        target = target.to(source)
        target_cls = features_of(vit, target).cls

        def cls_value(look: Look) -> Tensor:
            return cls_distance(look.features.cls, target_cls)

        def pixel_value(look: Look) -> Tensor:
            return pixel_distance(look.features, target)

        return [
            Term("style_cls", self.cls, cls_value, vit),
            Term("style_pixels", self.pixels, pixel_value, view=self.pixels_view),
        ]
