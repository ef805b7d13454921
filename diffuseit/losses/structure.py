"""Structure: the source's layout, held by the keys of a ViT layer (Kwon & Ye 2023, eq. 5 and 6)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from .base import FeaturesOf, Look, Term, check_finite, require

if TYPE_CHECKING:
    from ..features.vit import ViT


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


CELLS = 1, 2, 4
"""Sides, in patches, of the cells whose keys are averaged: from the finest scale to the coarsest."""


def pooled_keys(keys: Tensor, grid: tuple[int, int], cell: int) -> Tensor:
    """Keys [B, N, D], those of a `grid` of patches last, averaged over cells of `cell` x `cell`; the others stay."""
    if cell == 1:
        return keys
    rows, columns = grid
    prefix, patches = keys[:, : -rows * columns], keys[:, -rows * columns :]
    plane = patches.mT.unflatten(2, grid)
    plane = F.avg_pool2d(plane, (min(cell, rows), min(cell, columns)), ceil_mode=True)
    return torch.cat([prefix, plane.flatten(2).mT], dim=1)


def scale_shares(detail: float) -> list[tuple[int, float]]:
    """(cell, share) of the scales that count: `detail` 1 is the finest alone, 0 the coarsest alone."""
    place = (1 - detail) * (len(CELLS) - 1)
    shares = [(cell, max(0.0, 1 - abs(place - number))) for number, cell in enumerate(CELLS)]
    return [(cell, share) for cell, share in shares if share > 0]


def content_factor(look: Look, progressive_contrast: bool, regularize_content: bool) -> Tensor:
    """How much more the content counts than the style, [B] or [], after the previous text style loss."""
    style = look.last.get("text_style")
    if style is None:
        return torch.ones(())
    factor = torch.ones_like(style)
    if progressive_contrast:
        factor = torch.where(style > -0.5, 0.5, factor)
    if regularize_content:
        factor = torch.where(style < -0.5, 2.0, factor)
    return factor


@dataclass(frozen=True, kw_only=True)
class StructureLoss:
    """Keeps the source's layout: `self_similarity` and `contrastive` are the weights of the two terms.

    The contrastive weight follows the previous evaluation's text style loss, if there is one: halved while that
    is above -0.5 with `progressive_contrast` (style first), doubled once it is below -0.5 with
    `regularize_content` (then structure).

    `detail` is the scale at which the layout is held, as in a spatial pyramid (Lazebnik et al. 2006): 1 every patch
    (the paper), lower the mean keys of ever larger cells, so that textures and small things may change, 0 cells of
    4 x 4 patches. Raises `InputError` for settings that cannot work.
    """

    vit: "ViT | None" = None
    self_similarity: float = 1000.0
    contrastive: float = 200.0
    tau: float = 0.07
    progressive_contrast: bool = False
    regularize_content: bool = False
    detail: float = 1.0

    def __post_init__(self) -> None:
        check_finite(self)
        if not 0 <= self.detail <= 1:
            raise InputError(f"StructureLoss.detail is {self.detail}: use 0 (layout only) to 1 (every patch)")
        if self.tau <= 0:
            raise InputError(f"StructureLoss.tau is {self.tau}: it must be above 0 (the paper uses 0.07)")

    def item(self, index: int) -> "StructureLoss":
        """The loss of one picture of the batch: itself."""
        return self

    def bind(self, source: Tensor, features_of: FeaturesOf) -> Sequence[Term]:
        vit = require(self.vit, self, "a ViT")
        keys = features_of(vit, source).keys
        grid = vit.grid((source.shape[-2], source.shape[-1])) if self.detail < 1 else (0, 0)
        scales = [(cell, share, pooled_keys(keys, grid, cell)) for cell, share in scale_shares(self.detail)]
        similarities = [self_similarity(source_keys) for _, _, source_keys in scales]

        def similarity_value(look: Look) -> Tensor:
            return _sum(
                share * self_similarity_loss(pooled_keys(look.features.keys, grid, cell), similarity)
                for (cell, share, _), similarity in zip(scales, similarities, strict=True)
            )

        def contrastive_value(look: Look) -> Tensor:
            return _sum(
                share
                * key_contrastive_loss(pooled_keys(look.features.keys, grid, cell), source_keys, self.tau)
                for cell, share, source_keys in scales
            )

        follows = self.progressive_contrast or self.regularize_content
        scale = self.contrast_scale if follows else None
        return [
            Term("self_similarity", self.self_similarity, similarity_value, vit),
            Term("contrastive", self.contrastive, contrastive_value, vit, scale=scale),
        ]

    def contrast_scale(self, look: Look) -> Tensor:
        """Factor [B] of the contrastive weight, from the previous text style loss."""
        return content_factor(look, self.progressive_contrast, self.regularize_content)


def _sum(values: Iterable[Tensor]) -> Tensor:
    first, *others = values
    return sum(others, first)
