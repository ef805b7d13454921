"""The consensus of predictions while a batch is translated, as `agree` of `diffuseit.guidance.loop.sample`.

It is to correspondences what MultiDiffusion (Bar-Tal et al. 2023, arXiv 2302.08113) is to overlapping tiles.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .links import Correspondence
from .warp import consensus


@dataclass(frozen=True, eq=False)
class Agreement:
    """Moves the predictions [B, C, H, W] of a batch to their `consensus`, of this strength and reach.

    Images that are `finished`, [C, H, W] by their number in the correspondence, count too and stay as they are; the
    predictions are the other images, in order. All are in the space of the predictions, which may be smaller than the
    images of the correspondence.
    """

    correspondence: Correspondence
    strength: float = 1.0
    reach: int = 1
    finished: Mapping[int, Tensor] = field(default_factory=dict)
    _resized: dict[tuple[int, int], Correspondence] = field(default_factory=dict, init=False)

    def __call__(self, predictions: Tensor) -> Tensor:
        """Return the predictions after their consensus."""
        size = (predictions.shape[-2], predictions.shape[-1])
        if size not in self._resized:
            self._resized[size] = self.correspondence.resized(size).to(predictions)
        images, rest = [], iter(predictions)
        for number in range(len(predictions) + len(self.finished)):
            images.append(self.finished[number].to(predictions) if number in self.finished else next(rest))
        agreed = consensus(torch.stack(images), self._resized[size], self.strength, self.reach)
        return agreed[[number for number in range(len(images)) if number not in self.finished]]


@dataclass(frozen=True, eq=False)
class LatentAgreement:
    """Moves latents [B, C, h, w] by what an agreement changes in the images that they decode to.

    A latent pixel stands for many pixels of an image. Latents that are shifted by a part of it are not those of the
    shifted image, so their mean is blurred, and the mean of images is not. Only the change is encoded: what the
    autoencoder loses stays out. No gradient passes through it.
    """

    agreement: Agreement
    decode: Callable[[Tensor], Tensor]
    encode: Callable[[Tensor], Tensor]

    @torch.no_grad()
    def _change(self, latents: Tensor) -> Tensor:
        # One by one: the decoder of a batch takes much memory.
        images = torch.cat([self.decode(one) for one in latents.split(1)])
        agreed = self.agreement(images)
        pairs = zip(agreed.split(1), images.split(1), strict=True)
        return torch.cat([self.encode(new) - self.encode(old) for new, old in pairs])

    def __call__(self, predictions: Tensor) -> Tensor:
        """Return the predictions after the consensus of their images."""
        return predictions + self._change(predictions.detach())
