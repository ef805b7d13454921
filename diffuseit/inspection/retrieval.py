"""Nearest neighbors: whether features find a content again in another style, and a style in another content."""

import torch
from torch import Tensor

from .gram import Gram

_TIED = 1e-9
"""The share of the largest squared distance by which equal distances may differ."""


def content_retrieval(gram: Gram) -> float:
    """Return how often the nearest picture of another style shows the same content, for all ordered pairs of styles.

    Distances are Euclidean. Chance is 1 / contents. A tie counts as a draw among those tied.
    """
    hits = _hits(_distances(gram)).diagonal(dim1=0, dim2=2)
    # [styles, styles, contents]; the query's style is the first.
    return float(hits[~torch.eye(gram.styles, dtype=torch.bool)].mean())


def style_retrieval(gram: Gram) -> float:
    """Return how often the nearest picture of another content has the same style, for all ordered pairs of contents.

    Chance is 1 / styles.
    """
    turned = Gram(gram.products.permute(1, 0, 3, 2), gram.constant)
    return content_retrieval(turned)


def _distances(gram: Gram) -> Tensor:
    """Squared distances [contents, styles, contents, styles]."""
    count = gram.contents * gram.styles
    square = gram.products.reshape(count, count)
    norms = square.diagonal()
    return (norms[:, None] + norms - 2 * square).view_as(gram.products)


def _hits(distances: Tensor) -> Tensor:
    """The share [content, style, content found, style asked] that each picture has of being the nearest one."""
    nearest = distances.amin(dim=2, keepdim=True)
    tied = (distances <= nearest + _TIED * distances.max()).double()
    return tied / tied.sum(dim=2, keepdim=True)
