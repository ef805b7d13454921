"""Distances between two sets of pictures, from their features."""

import torch
from torch import Tensor


def frechet_distance(features: Tensor, reference: Tensor) -> float:
    """Return the Frechet distance of the Gaussians fitted to features [N, D] and [M, D], in float64.

    tr (S1 S2)^(1/2) comes from the eigenvalues of the symmetric S1^(1/2) S2 S1^(1/2), so that rank-deficient
    covariances (N < D) do no harm. The estimate is biased upwards for small N: compare equal N only.
    """
    x, y = features.detach().double().cpu(), reference.detach().double().cpu()
    cov_x, cov_y = _covariance(x), _covariance(y)
    values, vectors = torch.linalg.eigh(cov_y)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov_x @ root).clamp_min(0).sqrt().sum()
    distance = (x.mean(0) - y.mean(0)).square().sum() + cov_x.trace() + cov_y.trace() - 2 * cross
    return max(distance.item(), 0.0)


def _covariance(features: Tensor) -> Tensor:
    centered = features - features.mean(0)
    return centered.T @ centered / max(len(features) - 1, 1)
