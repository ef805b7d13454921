"""Color transfer of image guidance: the result takes the style image's colors."""

import torch
from torch import Tensor

_FLAT = 1e-12
"""A sum of variances of values in [0, 1]: rounding leaves less, a level in one pixel of a thousand more."""


def match_colors_batch(images: Tensor, targets: Tensor) -> Tensor:
    """`match_colors` of [B, 3, H, W] in [-1, 1], with one target for all or one for each."""
    return torch.stack([match_colors(image, targets[i % len(targets)]) for i, image in enumerate(images)])


def match_colors(image: Tensor, target: Tensor) -> Tensor:
    """`image` with the colors of `target`: both [3, H, W] in [-1, 1], of any sizes.

    As the official code does, both are stretched to their full range first and the result last. Images of a single
    color have no colors to give or to change: with one of them, `image` stays as it is.
    """
    # On the CPU, since not every device has float64.
    source, palette = (_stretched(picture.detach().cpu().double()).flatten(1) for picture in (image, target))
    means = [colors.mean(1, keepdim=True) for colors in (source, palette)]
    covariances = [colors.cov(correction=0) for colors in (source, palette)]
    if not all(covariance.trace() > _FLAT for covariance in covariances):
        return image
    matched = transfer(*covariances) @ (source - means[0]) + means[1]
    return _stretched(matched).mul(2).sub(1).reshape(image.shape).to(image)


def transfer(source: Tensor, target: Tensor) -> Tensor:
    """The linear map T with T source T' = target, for covariances [3, 3], that moves colors least.

    F. Pitié and A. Kokaram, The linear Monge-Kantorovitch linear colour mapping for example-based colour transfer,
    CVMP 2007: T = S^-1/2 (S^1/2 C S^1/2)^1/2 S^-1/2 of the source's S and the target's C. Directions without colors in
    the source have none in the result.
    """
    root, inverse = _root(source), _root(source, inverse=True)
    return inverse @ _root(root @ target @ root) @ inverse


def _root(matrix: Tensor, inverse: bool = False) -> Tensor:
    """The square root of a symmetric positive semidefinite matrix, or its pseudoinverse."""
    values, vectors = torch.linalg.eigh(matrix)
    present = values > values[-1] * 1e-12
    values = values.clamp_min(0).sqrt()
    values = torch.where(present, 1 / values, 0) if inverse else values
    return vectors @ values.diag() @ vectors.T


def _stretched(values: Tensor) -> Tensor:
    """Values in [0, 1], the least 0 and the largest 1; as they are where all are equal."""
    low, high = values.aminmax()
    return (values - low) / (high - low) if high > low else values
