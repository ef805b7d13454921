"""The latent pocket world as a `Backbone`: the flow model, its autoencoder, and texts that ask for images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..models.clip import CLIPEnsemble
from ..models.flux import Flux
from ..models.latent import FLUX_LATENTS, Denoise, LatentDiffusion, Sigmas
from ..models.taesd import FACTOR, TAESD
from .models import pocket_autoencoder, pocket_clip, pocket_flux, text_embeddings


@dataclass(frozen=True)
class PocketAutoencoder:
    """Images [B, 3, H, W] in [-1, 1] to normalized latents [B, 16, H/8, W/8], and back."""

    network: TAESD
    factor: int = FACTOR

    def encode(self, image: Tensor) -> Tensor:
        with torch.no_grad():
            return FLUX_LATENTS.normalize(self.network.encode(image))

    def decode(self, x: Tensor) -> Tensor:
        return self.network(FLUX_LATENTS.denormalize(x))

    def networks(self) -> Mapping[str, nn.Module]:
        return {"decoder": self.network}


@dataclass(frozen=True)
class PocketLatent:
    """The networks of the latent pocket world."""

    flux: Flux
    autoencoder: PocketAutoencoder
    clip: CLIPEnsemble

    def backbone(
        self,
        sigmas: Sigmas,
        to: Sequence[str] | None = None,
        from_: Sequence[str] | None = None,
        cfg: float = 1.0,
    ) -> LatentDiffusion:
        """Return the model asked for `to` (nothing if None), one text for each image.

        Classifier-free guidance of `cfg` goes away from `from_`, or from no text.
        """
        return LatentDiffusion(self.denoise(to, from_, cfg), sigmas, self.autoencoder)

    def denoise(self, to: Sequence[str] | None, from_: Sequence[str] | None, cfg: float) -> Denoise:
        asked, avoided = self._texts(to), self._texts(from_)

        def predict(x: Tensor, sigma: float) -> Tensor:
            velocity = self._velocity(x, sigma, asked)
            if cfg != 1:
                away = self._velocity(x, sigma, avoided)
                velocity = away + cfg * (velocity - away)
            return x - sigma * velocity

        return predict

    def _texts(self, texts: Sequence[str] | None) -> Tensor:
        return (
            torch.zeros(1, self.flux.config.context) if texts is None else text_embeddings(self.clip, texts)
        )

    def _velocity(self, x: Tensor, sigma: float, texts: Tensor) -> Tensor:
        texts = texts.to(x).expand(len(x), -1)
        return self.flux(x, x.new_full((len(x),), sigma), texts[:, None], texts)


def pocket_latent() -> PocketLatent:
    """Load the networks that ship with the package."""
    return PocketLatent(pocket_flux(), PocketAutoencoder(pocket_autoencoder()), pocket_clip())


def flow_sigmas(strength: float, steps: int) -> Sigmas:
    """Return evenly spaced noise levels from `strength`, in (0, 1), to 0."""
    return Sigmas(tuple(strength * (1 - step / steps) for step in range(steps + 1)), flow=True)
