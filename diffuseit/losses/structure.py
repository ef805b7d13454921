"""Structure: the source's layout, held by the keys of a ViT layer (Kwon & Ye 2023, eq. 5 and 6)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ..schema import number
from .base import FeaturesOf, Label, Labels, Look, Loss, Term, weight_field

if TYPE_CHECKING:
    from ..models.vit import ViTFeatures


def self_similarity(keys: Tensor) -> Tensor:
    """Cosine similarity of all pairs of keys: [B, N, D] -> [B, N, N] (Tumanyan et al. 2022, arXiv 2201.00424)."""
    norm = keys.norm(dim=-1, keepdim=True)
    return (keys @ keys.mT) / (norm @ norm.mT).clamp_min(1e-8)


def self_similarity_loss(keys: Tensor, source_similarity: Tensor) -> Tensor:
    """Mean squared difference of self-similarity matrices, [B]: eq. 5."""
    return (self_similarity(keys) - source_similarity).square().mean(dim=(1, 2))


def key_contrastive_loss(keys: Tensor, source_keys: Tensor, tau: float) -> Tensor:
    """InfoNCE over key rows, [B]: a key's positive is the source key at its own place, eq. 6.

    As in the official code every row has one more negative, of similarity -10.
    """
    similarity = F.normalize(keys, dim=-1) @ F.normalize(source_keys, dim=-1).mT / tau
    extra = torch.tensor(-10 / tau, dtype=similarity.dtype, device=similarity.device)
    partition = torch.logaddexp(similarity.logsumexp(dim=-1), extra)
    return (partition - similarity.diagonal(dim1=1, dim2=2)).mean(dim=-1)


@dataclass(frozen=True)
class Scale:
    """Keys of the chosen ViT layer, or of the one half-way to it (`early`), averaged over `cell` x `cell` patches."""

    cell: int
    early: bool = False

    def keys(self, features: "ViTFeatures", grid: tuple[int, int]) -> Tensor:
        """Keys [B, N, D] for a `grid` of patches (rows, columns). The patches come last; other tokens stay."""
        keys = features.early_keys if self.early else features.keys
        if self.cell == 1:
            return keys
        rows, columns = grid
        prefix, patches = keys[:, : -rows * columns], keys[:, -rows * columns :]
        plane = patches.mT.unflatten(2, grid)
        plane = F.avg_pool2d(plane, (min(self.cell, rows), min(self.cell, columns)), ceil_mode=True)
        return torch.cat([prefix, plane.flatten(2).mT], dim=1)


SCALES = Scale(4), Scale(2), Scale(1), Scale(1, early=True)
"""From the coarsest to the finest, at `detail` 0, 0.5, 1 and 2."""


def scale_shares(detail: float) -> list[tuple[Scale, float]]:
    """The scales that count and their shares: one of `SCALES`, or two with `detail` between theirs."""
    place = 2 * detail if detail < 1 else 1 + detail
    shares = [(scale, max(0.0, 1 - abs(place - number))) for number, scale in enumerate(SCALES)]
    return [(scale, share) for scale, share in shares if share > 0]


def content_factor(look: Look, progressive_contrast: bool, regularize_content: bool) -> Tensor:
    """How much more the content counts than the style, [B] or [], after the previous text style loss."""
    style = look.last.get("text_style")
    if style is None:
        return torch.ones((), dtype=torch.float32, device="cpu")
    factor = torch.ones_like(style)
    if progressive_contrast:
        factor = torch.where(style > -0.5, 0.5, factor)
    if regularize_content:
        factor = torch.where(style < -0.5, 2.0, factor)
    return factor


@dataclass(frozen=True, kw_only=True)
class StructureLoss(Loss):
    """Keeps the source's layout: `self_similarity` and `contrastive` are the weights of the two terms.

    The contrastive weight follows the text style loss of the previous evaluation, if there is one. With
    `progressive_contrast` it is halved while that loss is above -0.5 (style first). With `regularize_content` it is
    doubled once that loss is below -0.5 (then structure).

    `detail` is the scale at which the layout is held, as in a spatial pyramid (Lazebnik et al. 2006). 1 holds every
    patch (the paper). Lower values hold the mean keys of ever larger cells, so that textures and small things may
    change; 0 holds cells of 4 x 4 patches. Higher values mix in the keys of the layer half-way to the chosen one, which
    hold textures and exact places; 2 holds those alone.
    """

    needs = ("vit",)
    labels: ClassVar[Labels] = {
        "self_similarity": Label("self-similarity", "#4c8df0"),
        "contrastive": Label("contrastive", "#2aa7a0"),
    }

    self_similarity: float = weight_field(1000.0)
    contrastive: float = weight_field(200.0)
    tau: float = number(0.07, low=0.001, high=10.0)
    progressive_contrast: bool = False
    regularize_content: bool = False
    detail: float = number(1.0, low=0.0, high=2.0)

    def terms(self, source: Tensor, inputs: Mapping[str, Any], features_of: FeaturesOf) -> Sequence[Term]:
        vit = inputs["vit"]
        grid = vit.grid((source.shape[-2], source.shape[-1])) if self.detail < 1 else (0, 0)
        features = features_of(vit, source)
        terms = []
        for scale, share in scale_shares(self.detail):
            terms += self._at_scale(scale, share, scale.keys(features, grid), vit, grid)
        return terms

    def _at_scale(
        self, scale: Scale, share: float, source_keys: Tensor, vit: Any, grid: tuple[int, int]
    ) -> list[Term]:
        similarity = self_similarity(source_keys)

        def similarity_value(look: Look) -> Tensor:
            return share * self_similarity_loss(scale.keys(look.features, grid), similarity)

        def contrastive_value(look: Look) -> Tensor:
            return share * key_contrastive_loss(scale.keys(look.features, grid), source_keys, self.tau)

        def contrast_scale(look: Look) -> Tensor:
            return content_factor(look, self.progressive_contrast, self.regularize_content)

        follows = self.progressive_contrast or self.regularize_content
        return [
            Term("self_similarity", self.self_similarity, similarity_value, vit),
            Term(
                "contrastive",
                self.contrastive,
                contrastive_value,
                vit,
                scale=contrast_scale if follows else None,
            ),
        ]
