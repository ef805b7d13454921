"""Identity: the same person, by a face network that is handed in (Kwon & Ye 2023, for FFHQ)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from .base import FeaturesOf, Look, Term, check_finite, require


def identity_distance(embedding: Tensor, target: Tensor) -> Tensor:
    """1 minus the cosine of embeddings [B, D]: [B]."""
    return 1 - F.cosine_similarity(embedding, target, dim=-1)


@dataclass(frozen=True, kw_only=True)
class IdentityLoss:
    """Keeps the embedding of the source.

    `network` takes pictures [B, 3, H, W] in [-1, 1] to [B, D], differentiably; cutting out the face, resizing and
    normalising are its part. An ArcFace network of any make will do, on the source's device and in eval mode.
    Raises `InputError` if it is missing or gives another shape, or for a weight that is not finite.
    """

    network: nn.Module | None = None
    weight: float = 100.0

    def __post_init__(self) -> None:
        check_finite(self)

    def item(self, index: int) -> "IdentityLoss":
        """The loss of one picture of the batch: itself."""
        return self

    def bind(self, source: Tensor, features_of: FeaturesOf) -> Sequence[Term]:
        network = require(self.network, self, "a network that embeds faces")
        target = features_of(network, source)
        if target.ndim != 2 or len(target) != len(source):
            raise InputError(
                f"IdentityLoss.network gives {tuple(target.shape)} for {len(source)} pictures: it must give [B, D]"
            )

        def value(look: Look) -> Tensor:
            return identity_distance(look.features, target)

        return [Term("identity", self.weight, value, network)]
