"""What the sampler asks of a diffusion model."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

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


class Backbone(Protocol):
    """A diffusion model. `predict` runs the network once and is differentiable in `x_t`."""

    @property
    def device(self) -> torch.device: ...

    @property
    def image_size(self) -> int: ...

    @property
    def size_multiple(self) -> int: ...

    @property
    def num_classes(self) -> int | None: ...

    def schedule(self, respacing: str | int) -> Schedule: ...

    def predict(self, x_t: Tensor, schedule: Schedule, index: int, y: Tensor | None = None) -> Prediction: ...

    def encode(self, image: Tensor) -> Tensor:
        """[B, 3, H, W] in [-1, 1] to the space the diffusion runs in."""
        ...

    def decode(self, x: Tensor) -> Tensor:
        """Inverse of `encode`, differentiable."""
        ...
