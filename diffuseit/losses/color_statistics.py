"""Colour statistics: mean and covariance of the colours, of the whole picture or of each cell of a grid."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from ..errors import InputError
from .base import FeaturesOf, Look, Term, check_finite


def cells(image: Tensor, grid: int) -> Tensor:
    """[B, 3, H, W] -> [B, grid * grid, 3, P]: the pixels of each cell. What `grid` does not divide is cut off."""
    batch, channels, height, width = image.shape
    h, w = height // grid, width // grid
    cut = image[..., : h * grid, : w * grid].reshape(batch, channels, grid, h, grid, w)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(batch, grid * grid, channels, h * w)


def colour_moments(image: Tensor, grid: int = 1) -> tuple[Tensor, Tensor]:
    """Mean [B, grid * grid, 3] and covariance [B, grid * grid, 3, 3] of the colours in each cell."""
    pixels = cells(image, grid)
    mean = pixels.mean(dim=-1)
    centred = pixels - mean.unsqueeze(-1)
    return mean, centred @ centred.mT / pixels.shape[-1]


def mean_distance(mean: Tensor, target: Tensor) -> Tensor:
    """Squared difference of mean colours [B, cells, 3], averaged over cells: [B]."""
    return (mean - target).square().sum(dim=-1).mean(dim=-1)


def covariance_distance(covariance: Tensor, target: Tensor) -> Tensor:
    """Squared Frobenius norm of the difference of covariances [B, cells, 3, 3], averaged over cells: [B].

    Unlike the Wasserstein distance of Gaussians it needs no matrix root, whose gradient is infinite for flat colours.
    """
    return (covariance - target).square().sum(dim=(-2, -1)).mean(dim=-1)


@dataclass(frozen=True, kw_only=True)
class ColourStatisticsLoss:
    """Gives pred_xstart the colours of `target` [1 or B, 3, H, W] in [-1, 1] of any size; None is the source.

    `mean` and `covariance` weigh the two distances. With `grid` 1 colours may be anywhere in the picture; a larger
    one wants them cell by cell, at their place. Raises `InputError` for settings that cannot work.
    """

    target: Tensor | None = None
    mean: float = 200.0
    covariance: float = 200.0
    grid: int = 1

    def __post_init__(self) -> None:
        check_finite(self)
        if self.grid < 1:
            raise InputError(f"ColourStatisticsLoss.grid is {self.grid}: use 1 (the whole picture) or more")

    def item(self, index: int) -> "ColourStatisticsLoss":
        """The loss of one picture of the batch."""
        if self.target is None or len(self.target) == 1:
            return self
        return replace(self, target=self.target[index : index + 1])

    def bind(self, source: Tensor, features_of: FeaturesOf) -> Sequence[Term]:
        target = source if self.target is None else self.target.to(source)
        if target.ndim != 4 or target.shape[1] != 3 or len(target) not in (1, len(source)):
            raise InputError(
                f"the colour picture is {tuple(target.shape)}, the source {tuple(source.shape)}: "
                "give [1, 3, H, W], or one for each"
            )
        smallest = min(*source.shape[-2:], *target.shape[-2:])
        if self.grid > smallest:
            raise InputError(
                f"ColourStatisticsLoss.grid is {self.grid}, a picture only {smallest} pixels: use a coarser grid"
            )
        target_mean, target_covariance = colour_moments(target, self.grid)

        def mean_value(look: Look) -> Tensor:
            return mean_distance(cells(look.features, self.grid).mean(dim=-1), target_mean)

        def covariance_value(look: Look) -> Tensor:
            return covariance_distance(colour_moments(look.features, self.grid)[1], target_covariance)

        return [
            Term("colour_mean", self.mean, mean_value, view="pred_xstart"),
            Term("colour_covariance", self.covariance, covariance_value, view="pred_xstart"),
        ]
