"""Structure kept: the distance of DINO self-similarities (Splice, Tumanyan et al. 2022, arXiv 2201.00424).

The distance is the mean squared difference of the cosines of all pairs of keys of a ViT's layer. With DINO ViT-B/8,
224 pixels and layer 11 it is the number of the paper. PIE-Bench (PnPInversion, Ju et al. 2023) hands pictures of 0 to
255 to the same network, whose preprocessing takes [0, 1], so that its published numbers are on a scale of their own.
"""

import torch
from torch import Tensor

from ..losses.structure import self_similarity, self_similarity_loss
from ..models.vit import ViT


def distance_of_keys(keys: Tensor, source_keys: Tensor) -> Tensor:
    """Return the distance [N] of keys [N, tokens, D]."""
    return self_similarity_loss(keys, self_similarity(source_keys))


@torch.no_grad()
def structure_distance(vit: ViT, results: Tensor, sources: Tensor) -> Tensor:
    """Return the distance [N] of pictures [N, 3, H, W] in [-1, 1]; 0 for equal ones."""
    return distance_of_keys(vit(results).keys, vit(sources).keys)


@torch.no_grad()
def pie_structure_distance(vit: ViT, results: Tensor, sources: Tensor) -> Tensor:
    """Return the distance [N] as PIE-Bench's code computes it, which publishes it times 1000."""
    return structure_distance(vit, _as_pie(results), _as_pie(sources))


def _as_pie(pictures: Tensor) -> Tensor:
    """Pictures whose [0, 1], as the ViT's preprocessing sees it, are the levels 0 to 255."""
    levels = pictures.add(1).div(2).mul(255)
    return levels.mul(2).sub(1)
