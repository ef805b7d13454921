"""Identity: the same person, by a face network that the caller brings (Kwon & Ye 2023, for FFHQ)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from .base import FeaturesOf, Label, Labels, Look, Loss, Term, weight_field


def identity_distance(embedding: Tensor, target: Tensor) -> Tensor:
    """1 minus the cosine of embeddings [B, D]: [B]."""
    return 1 - F.cosine_similarity(embedding, target, dim=-1)


@dataclass(frozen=True, kw_only=True)
class IdentityLoss(Loss):
    """Keeps the embedding of the source.

    The input `face` is a network that takes images [B, 3, H, W] in [-1, 1] to [B, D], differentiably. It cuts out the
    face, resizes and normalizes. Any ArcFace network will do, on the source's device and in eval mode.
    """

    needs = ("face",)
    labels: ClassVar[Labels] = {"identity": Label("identity", "#b8912a")}

    weight: float = weight_field(100.0)

    def terms(self, source: Tensor, inputs: Mapping[str, Any], features_of: FeaturesOf) -> Sequence[Term]:
        network = inputs["face"]
        target = features_of(network, source)
        if target.ndim != 2 or len(target) != len(source):
            raise InputError(
                f"the face network gives {tuple(target.shape)} for {len(source)} images: it must give [B, D]"
            )

        def value(look: Look) -> Tensor:
            return identity_distance(look.features, target)

        return [Term("identity", self.weight, value, network)]
