"""Image style: the [CLS] token and the colors of a style image (Kwon & Ye 2023, eq. 9)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ..errors import InputError
from .base import FeaturesOf, Label, Labels, Look, Loss, Term, View, check_picture, weight_field


def cls_distance(cls: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of [CLS] tokens [B, D]: [B]."""
    return (cls - target).square().mean(dim=-1)


def pixel_distance(image: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of images [B, 3, H, W]: [B]."""
    return (image - target).square().mean(dim=(1, 2, 3))


@dataclass(frozen=True, kw_only=True)
class ImageStyleLoss(Loss):
    """Pulls toward the style image, which has the source's size.

    `cls` weighs the distance of [CLS] tokens. `pixels` weighs the distance of the images themselves, which looks at
    `pixels_view` (None: at the sampler's view).
    """

    needs = ("vit", "style")
    labels: ClassVar[Labels] = {
        "style_cls": Label("style", "#e8853d"),
        "style_pixels": Label("style colors", "#d65a7f"),
    }

    cls: float = weight_field(2000.0)
    pixels: float = weight_field(3000.0)
    pixels_view: View | None = None

    def terms(self, source: Tensor, inputs: Mapping[str, Any], features_of: FeaturesOf) -> Sequence[Term]:
        target = check_picture(inputs["style"], source, "the style image")
        if target.shape[1:] != source.shape[1:]:
            raise InputError(
                f"the style image is {target.shape[-1]}x{target.shape[-2]}, the source "
                f"{source.shape[-1]}x{source.shape[-2]}: resize it to the source's size"
            )
        target_cls = features_of(inputs["vit"], target).cls

        def cls_value(look: Look) -> Tensor:
            return cls_distance(look.features.cls, target_cls)

        def pixel_value(look: Look) -> Tensor:
            return pixel_distance(look.features, target)

        return [
            Term("style_cls", self.cls, cls_value, inputs["vit"]),
            Term("style_pixels", self.pixels, pixel_value, view=self.pixels_view),
        ]
