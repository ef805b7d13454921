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

    `log_variance` is a scalar tensor if the variance is not learned.
    """

    pred_xstart: Tensor
    mean: Tensor
    log_variance: Tensor

    def detach(self) -> "Prediction":
        """Return the same prediction without its graph."""
        return Prediction(self.pred_xstart.detach(), self.mean.detach(), self.log_variance.detach())


@runtime_checkable
class Backbone(Protocol):
    """A diffusion model that the loop can run. It owns its parameterization, conditioning, and image space."""

    @property
    def device(self) -> torch.device: ...

    @property
    def image_size(self) -> int:
        """Return the shorter side, in pixels, of the images that the network was trained on."""
        ...

    @property
    def size_multiple(self) -> int:
        """Return the number of pixels that the sides of images must be multiples of."""
        ...

    @property
    def num_classes(self) -> int | None:
        """Return how many class labels the network knows; None if it takes none."""
        ...

    @property
    def shows_noise(self) -> bool:
        """Return whether a noisy x shows anything, so that losses may look at the noised view. Latents do not."""
        ...

    def schedule(self, respacing: str | int) -> Schedule:
        """Return the diffusion process of the network, respaced."""
        ...

    def predict(self, x_t: Tensor, schedule: Schedule, t: int, y: Tensor | None = None) -> Prediction:
        """Run the network once at x_t [B, C, H, W] and timestep `t`, differentiably in x_t."""
        ...

    def encode(self, image: Tensor) -> Tensor:
        """Map [B, 3, H, W] in [-1, 1] to the space that the diffusion runs in."""
        ...

    def decode(self, x: Tensor) -> Tensor:
        """Invert `encode`, differentiably."""
        ...

    def show(self, x: Tensor) -> Tensor:
        """Return the images at which the losses look: `decode`, at a size of the backbone's choice."""
        ...

    def view(self, image: Tensor) -> Tensor:
        """Map an image or a mask [B, C, H, W] to the size of `show`."""
        ...

    def resize_mask(self, mask: Tensor) -> Tensor:
        """Map a mask [B, 1, H, W] of images to the space that the diffusion runs in."""
        ...

    def networks(self) -> Mapping[str, nn.Module]:
        """Return the networks to move, count, and measure, by the names that users see."""
        ...

    def example_inputs(self, batch: int, size: tuple[int, int]) -> Sequence[Tensor]:
        """Return inputs of one forward pass for images of `size` (height, width). Only shapes and dtypes matter."""
        ...
