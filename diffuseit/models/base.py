"""The contract between the sampler and a diffusion model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from .schedule import Schedule


@dataclass(frozen=True)
class Prediction:
    """The network's output at x_t: p(x_{t-1} | x_t) = N(mean, exp(log_variance)), all [B, C, H, W].

    `log_variance` may also be a scalar tensor, where the variance is not learned.
    """

    pred_xstart: Tensor
    mean: Tensor
    log_variance: Tensor

    def detach(self) -> "Prediction":
        """The same prediction without its graph."""
        return Prediction(self.pred_xstart.detach(), self.mean.detach(), self.log_variance.detach())


@runtime_checkable
class Backbone(Protocol):
    """A diffusion model that the loop can run. It owns its parameterization, conditioning, and image space."""

    @property
    def device(self) -> torch.device: ...

    @property
    def image_size(self) -> int:
        """Pixels of the shorter side of the images that the network was trained on."""
        ...

    @property
    def size_multiple(self) -> int:
        """Sides of images must be multiples of this many pixels."""
        ...

    @property
    def num_classes(self) -> int | None:
        """How many class labels the network knows; None if it takes none."""
        ...

    def schedule(self, respacing: str | int) -> Schedule:
        """The diffusion process of the network, respaced."""
        ...

    def predict(self, x_t: Tensor, schedule: Schedule, t: int, y: Tensor | None = None) -> Prediction:
        """Run the network once at x_t [B, C, H, W] and timestep `t`, differentiably in x_t."""
        ...

    def encode(self, image: Tensor) -> Tensor:
        """[B, 3, H, W] in [-1, 1] to the space that the diffusion runs in."""
        ...

    def decode(self, x: Tensor) -> Tensor:
        """Inverse of `encode`, differentiable."""
        ...

    def resize_mask(self, mask: Tensor) -> Tensor:
        """A mask [B, 1, H, W] of images for the space that the diffusion runs in."""
        ...

    def networks(self) -> Mapping[str, nn.Module]:
        """The networks to move, count and measure, by the names that users see."""
        ...

    def example_inputs(self, batch: int, size: tuple[int, int]) -> Sequence[Tensor]:
        """What one forward pass takes for images of `size` (height, width); shapes and types count alone."""
        ...
