"""Facets: which of the features that a layer of a ViT has for each patch of a picture; pictures of patches."""

from collections.abc import Callable
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from ..models.vit import ViT, ViTFacets

PatchFacet = Literal["key", "query", "value", "token"]
"""The projections of attention, and the token after the layer."""

PATCH_FACETS: tuple[PatchFacet, ...] = get_args(PatchFacet)


def layer_number(vit: ViT, layer: int) -> int:
    """Return the number of a layer, 0 or more; -1 is the last. Raise `InputError` if there is none."""
    if not -vit.depth <= layer < vit.depth:
        raise InputError(f"layer {layer} does not exist: this vision transformer has {vit.depth} layers")
    return layer % vit.depth


def of_patches(facets: ViTFacets, facet: PatchFacet, patches: int) -> Tensor:
    """Return the facet [B, patches, D], without [CLS] and registers, which come first."""
    features = {
        "key": facets.keys,
        "query": facets.queries,
        "value": facets.values,
        "token": facets.tokens,
    }
    return features[facet][:, -patches:]


def patch_features(
    vit: ViT,
    pictures: Tensor,
    layer: int,
    facet: PatchFacet,
    *,
    batch: int = 4,
    on_pictures: Callable[[int, int], None] = lambda done, total: None,
) -> Tensor:
    """Return a facet of a layer, float32 [B, rows, columns, D] on the CPU, of pictures [B, 3, H, W] in [-1, 1].

    `batch` pictures go through the ViT at a time, and `on_pictures(done, total)` tells how many have. Raise
    `InputError` for a layer that it does not have.
    """
    number = layer_number(vit, layer)
    rows, columns = vit.grid((pictures.shape[-2], pictures.shape[-1]))
    parts: list[Tensor] = []
    for part in pictures.split(batch):
        facets = vit.facets(part.to(vit.mean.device), {number})[number]
        parts.append(of_patches(facets, facet, rows * columns).float().cpu())
        on_pictures(batch * (len(parts) - 1) + len(part), len(pictures))
    return torch.cat(parts).unflatten(1, (rows, columns))


def enlarged(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """Return a picture of patches [3, rows, columns] at `size` (height, width), with its patches seen as blocks."""
    return F.interpolate(picture[None], size, mode="nearest-exact")[0]
