"""Gram matrices of facets: all that variance shares and nearest neighbors need, however wide the features are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from ..models.vit import ViT
from .design import Design
from .facets import PATCH_FACETS, PatchFacet, of_patches

Facet = Literal["query", "key", "value", "token", "cls", "similarity", "pixel"]
"""What is measured of a layer: features of patches, [CLS], and the cosines of all pairs of keys.

"pixel" is the picture as the network gets it, which no layer has changed.
"""

FACETS: tuple[Facet, ...] = get_args(Facet)

_WIDEST = 1 << 16
"""Features of a picture that are multiplied at a time."""

_MEMORY = 2 << 30
"""Bytes of features that are kept at a time. Facets that do not fit take another pass over the pictures."""

_MOST_MEMORY = 16 << 30
"""Bytes of features that one facet of a layer may have."""

_ROUNDING = 1e-10
"""The share of the squared features below which their variance is rounding."""


@dataclass(frozen=True, order=True)
class Place:
    """A facet of a layer; the layer of pixels is -1."""

    layer: int
    facet: Facet

    def __str__(self) -> str:
        return self.facet if self.facet == "pixel" else f"{self.facet}:{self.layer}"


@dataclass(frozen=True)
class Gram:
    """Products of all pairs of features of a design, less their mean.

    `products` [contents, styles, contents, styles] is float64. If the features do not vary, `constant` is true and the
    products are 0.
    """

    products: Tensor
    constant: bool = False

    @property
    def contents(self) -> int:
        return self.products.shape[0]

    @property
    def styles(self) -> int:
        return self.products.shape[1]

    def reordered(self, order: Tensor) -> Gram:
        """Return the Gram matrix of the pictures in another order [contents * styles], under the labels as they are."""
        count = len(order)
        square = self.products.reshape(count, count)[order[:, None], order]
        return Gram(square.view_as(self.products), self.constant)


def gram_matrix(parts: Iterable[Tensor], contents: int, styles: int) -> Gram:
    """Return the Gram matrix of features [contents * styles, D], styles varying fastest, given in parts of any D."""
    count = contents * styles
    products = torch.zeros(count, count, dtype=torch.float64)
    squares = 0.0
    for part in parts:
        centered = part - part.double().mean(dim=0).to(part.dtype)
        products += (centered @ centered.mT).double()
        squares += float(part.square().sum(dtype=torch.float64))
    constant = float(products.trace()) <= _ROUNDING * squares
    products = torch.zeros_like(products) if constant else products
    return Gram(products.view(contents, styles, contents, styles), constant)


def gram_matrices(
    vit: ViT,
    design: Design,
    layers: Sequence[int],
    *,
    batch: int = 8,
    on_pictures: Callable[[int, int], None] = lambda done, total: None,
) -> dict[Place, Gram]:
    """Return the Gram matrix of every facet of every layer, by number, and of the pixels.

    `on_pictures(done, total)` tells how many of how many pictures have gone through the network. Raise `InputError` if
    the features would take more memory than machines have.
    """
    rows, columns = vit.grid(design.size)
    each = 4 * len(design) * rows * columns * vit.model.embed_dim
    if each > _MOST_MEMORY:
        raise InputError(
            f"{len(design)} pictures of {design.name} have features of {each / 1e9:.0f} GB for each facet of a layer: "
            "give fewer pictures, or a smaller network"
        )
    wanted = [(layer, facet) for layer in layers for facet in PATCH_FACETS]
    at_once = max(1, _MEMORY // each)
    passes = [wanted[start : start + at_once] for start in range(0, len(wanted), at_once)]
    found: dict[Place, Gram] = {}
    for number, part in enumerate(passes):
        features = _Features(vit, design, part, with_pixels=number == 0)
        for start in range(0, len(design), batch):
            features.read(range(start, min(start + batch, len(design))))
            done = number * len(design) + min(start + batch, len(design))
            on_pictures(done, len(passes) * len(design))
        found |= features.gram_matrices()
    return found


class _Features:
    """Some facets of some layers of all pictures of a design. [CLS] comes with the tokens of its layer."""

    def __init__(
        self, vit: ViT, design: Design, wanted: Sequence[tuple[int, PatchFacet]], with_pixels: bool
    ) -> None:
        self._vit, self._design, self._wanted, self._with_pixels = vit, design, wanted, with_pixels
        rows, columns = vit.grid(design.size)
        self._patches = rows * columns
        self._kept: dict[Place, Tensor] = {}

    def read(self, numbers: range) -> None:
        styles = len(self._design.styles)
        pictures = torch.cat([self._design.picture(*divmod(number, styles)) for number in numbers])
        pictures = pictures.to(self._vit.mean.device)
        layers = self._vit.facets(pictures, {layer for layer, _ in self._wanted})
        for layer, facet in self._wanted:
            self._keep(Place(layer, facet), of_patches(layers[layer], facet, self._patches), numbers)
            if facet == "token":
                self._keep(Place(layer, "cls"), layers[layer].tokens[:, :1], numbers)
        if self._with_pixels:
            self._keep(Place(-1, "pixel"), self._vit.preprocess(pictures).flatten(2).mT, numbers)

    def _keep(self, place: Place, features: Tensor, numbers: range) -> None:
        if place not in self._kept:
            self._kept[place] = torch.empty(len(self._design), *features.shape[1:], dtype=torch.float32)
        self._kept[place][numbers.start : numbers.stop] = features

    def gram_matrices(self) -> dict[Place, Gram]:
        shape = len(self._design.contents), len(self._design.styles)
        found = {}
        for place, features in self._kept.items():
            found[place] = gram_matrix(features.flatten(1).split(_WIDEST, dim=1), *shape)
            if place.facet == "key":
                found[Place(place.layer, "similarity")] = gram_matrix(_similarities(features), *shape)
        return found


def _similarities(keys: Tensor) -> Iterator[Tensor]:
    """Yield the cosines of all pairs of keys [B, N, D], as parts [B, some of N * N]."""
    directions = F.normalize(keys, dim=-1)
    for rows in directions.split(max(1, _WIDEST // keys.shape[1]), dim=1):
        yield (rows @ directions.mT).flatten(1)
