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
    from ..models.vit import ViT, ViTFeatures


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
        """[B, N, D], the cells of a `grid` of patches (rows, columns) last."""
        return pooled_keys(features.early_keys if self.early else features.keys, grid, self.cell)


SCALES = Scale(4), Scale(2), Scale(1), Scale(1, early=True)
"""From the coarsest to the finest, at `detail` 0, 0.5, 1 and 2."""


def pooled_keys(keys: Tensor, grid: tuple[int, int], cell: int) -> Tensor:
    """Keys [B, N, D], those of a `grid` of patches last, averaged over cells of `cell` x `cell`; the others stay."""
    if cell == 1:
        return keys
    rows, columns = grid
    prefix, patches = keys[:, : -rows * columns], keys[:, -rows * columns :]
    plane = patches.mT.unflatten(2, grid)
    plane = F.avg_pool2d(plane, (min(cell, rows), min(cell, columns)), ceil_mode=True)
    return torch.cat([prefix, plane.flatten(2).mT], dim=1)


def scale_shares(detail: float) -> list[tuple[Scale, float]]:
    """The scales that count and their shares: one of `SCALES`, or two with `detail` between theirs."""
    place = 2 * detail if detail < 1 else 1 + detail
    shares = [(scale, max(0.0, 1 - abs(place - number))) for number, scale in enumerate(SCALES)]
    return [(scale, share) for scale, share in shares if share > 0]


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
    (the paper); lower the mean keys of ever larger cells, so that textures and small things may change, 0 cells of
    4 x 4 patches; higher ever more of the keys of the layer half-way to the chosen one, which hold textures and exact
    places, 2 those alone. Raises `InputError` for settings that cannot work.
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
        if not 0 <= self.detail <= 2:
            raise InputError(
                f"StructureLoss.detail is {self.detail}: use 0 (layout only), 1 (every patch) or up to 2 (texture)"
            )
        if self.tau <= 0:
            raise InputError(f"StructureLoss.tau is {self.tau}: it must be above 0 (the paper uses 0.07)")

    def item(self, index: int) -> "StructureLoss":
        """The loss of one picture of the batch: itself."""
        return self

    def bind(self, source: Tensor, features_of: FeaturesOf) -> Sequence[Term]:
        vit = require(self.vit, self, "a ViT")
        grid = vit.grid((source.shape[-2], source.shape[-1])) if self.detail < 1 else (0, 0)
        features = features_of(vit, source)
        scales = [(scale, share, scale.keys(features, grid)) for scale, share in scale_shares(self.detail)]
        similarities = [self_similarity(source_keys) for _, _, source_keys in scales]

        def similarity_value(look: Look) -> Tensor:
            return _sum(
                share * self_similarity_loss(scale.keys(look.features, grid), similarity)
                for (scale, share, _), similarity in zip(scales, similarities, strict=True)
            )

        def contrastive_value(look: Look) -> Tensor:
            return _sum(
                share * key_contrastive_loss(scale.keys(look.features, grid), source_keys, self.tau)
                for scale, share, source_keys in scales
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
