"""Color statistics: mean and covariance of the colors, of the whole image or of each cell of a grid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ..errors import InputError
from ..schema import number
from .base import FeaturesOf, Label, Labels, Look, Loss, Term, check_picture, weight_field


def cells(image: Tensor, grid: int) -> Tensor:
    """The pixels of each cell: [B, 3, H, W] -> [B, grid * grid, 3, P]. What `grid` does not divide is cut off."""
    batch, channels, height, width = image.shape
    h, w = height // grid, width // grid
    cut = image[..., : h * grid, : w * grid].reshape(batch, channels, grid, h, grid, w)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(batch, grid * grid, channels, h * w)


def color_moments(image: Tensor, grid: int = 1) -> tuple[Tensor, Tensor]:
    """Mean [B, grid * grid, 3] and covariance [B, grid * grid, 3, 3] of the colors in each cell."""
    pixels = cells(image, grid)
    mean = pixels.mean(dim=-1)
    centered = pixels - mean.unsqueeze(-1)
    return mean, centered @ centered.mT / pixels.shape[-1]


def mean_distance(mean: Tensor, target: Tensor) -> Tensor:
    """Squared difference of mean colors [B, cells, 3], averaged over cells: [B]."""
    return (mean - target).square().sum(dim=-1).mean(dim=-1)


def covariance_distance(covariance: Tensor, target: Tensor) -> Tensor:
    """Squared Frobenius norm of the difference of covariances [B, cells, 3, 3], averaged over cells: [B].

    Unlike the Wasserstein distance of Gaussians it needs no matrix root, whose gradient is infinite for flat colors.
    """
    return (covariance - target).square().sum(dim=(-2, -1)).mean(dim=-1)


@dataclass(frozen=True, kw_only=True)
class ColorStatisticsLoss(Loss):
    """Gives pred_xstart the colors of the style image, of any size, or without one keeps those of the source.

    `mean` and `covariance` weigh the two distances. With `grid` 1 colors may be anywhere in the image. A larger grid
    matches them cell by cell.
    """

    uses = ("style",)
    labels: ClassVar[Labels] = {
        "color_mean": Label("mean color", "#d65a7f"),
        "color_covariance": Label("color spread", "#b8912a"),
    }

    mean: float = weight_field(200.0)
    covariance: float = weight_field(200.0)
    grid: int = number(1, low=1, high=64)

    def terms(self, source: Tensor, inputs: Mapping[str, Any], features_of: FeaturesOf) -> Sequence[Term]:
        target = check_picture(inputs.get("style", source), source, "the image that gives the colors")
        smallest = min(*source.shape[-2:], *target.shape[-2:])
        if self.grid > smallest:
            raise InputError(
                f"ColorStatisticsLoss.grid is {self.grid}, an image only {smallest} pixels: use a coarser grid"
            )
        target_mean, target_covariance = color_moments(target, self.grid)

        def mean_value(look: Look) -> Tensor:
            return mean_distance(cells(look.features, self.grid).mean(dim=-1), target_mean)

        def covariance_value(look: Look) -> Tensor:
            return covariance_distance(color_moments(look.features, self.grid)[1], target_covariance)

        return [
            Term("color_mean", self.mean, mean_value, view="pred_xstart"),
            Term("color_covariance", self.covariance, covariance_value, view="pred_xstart"),
        ]
