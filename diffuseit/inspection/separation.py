"""How far a ViT separates content from style: shares, retrieval, and one score for a pair of facets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError
from ..models.vit import ViT
from .design import Design
from .facets import layer_number
from .gram import FACETS, Facet, Gram, Place, gram_matrices
from .retrieval import content_retrieval, style_retrieval
from .variance import Shares, bootstrap_shares, resamples, variance_shares

Interval = tuple[float, float]

RESAMPLES = 2000
SHUFFLES = 999
_SEED = 0


@dataclass(frozen=True)
class Row:
    """Figures of one facet of one layer.

    `content` and `style` are shares of the variance, corrected for chance, with 95 % bootstrap intervals;
    `uncorrected` are those of content and style without the correction. `content_found` and `style_found` are the
    retrieval rates. A facet that is `constant` is equal for all pictures, and its shares are 0.
    """

    place: Place
    content: float
    style: float
    rest: float
    content_interval: Interval
    style_interval: Interval
    uncorrected: tuple[float, float]
    content_found: float
    style_found: float
    constant: bool

    @property
    def layer(self) -> int | None:
        """The number of the layer; None for pixels."""
        return None if self.place.facet == "pixel" else self.place.layer


@dataclass(frozen=True)
class Score:
    """Separation by a pair: the content share of `structure` times the style share of `style`, 0 to 1.

    `interval` is the 95 % bootstrap interval. `shuffled` is the mean score after shuffles of the labels, which is what
    chance gives; `p` is the share of shuffles that reach the score, where the labels as they are count as one.
    """

    structure: Place
    style: Place
    value: float
    interval: Interval
    shuffled: float
    p: float


@dataclass(frozen=True)
class Separation:
    """Figures of a ViT on a design."""

    design: Design
    rows: tuple[Row, ...]
    score: Score


def default_pair(vit: ViT) -> tuple[Place, Place]:
    """Return what the losses compare: keys of the ViT's layer for structure, the last [CLS] for style."""
    return Place(vit.layer % vit.depth, "key"), Place(vit.depth - 1, "cls")


def parse_place(text: str, vit: ViT, option: str) -> Place:
    """Return the place that `FACET` or `FACET:LAYER` names; the last layer without one. Raise `InputError`."""
    name, _, layer = text.partition(":")
    facets: dict[str, Facet] = {facet: facet for facet in FACETS if facet != "pixel"}
    try:
        return Place(layer_number(vit, int(layer or -1)), facets[name])
    except (KeyError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{option} is {text!r}: give a facet ({', '.join(facets)}), or a facet and a layer, such as key:-1"
        ) from None


def parse_layers(text: str, vit: ViT) -> list[int]:
    """Return the numbers of the layers that "all" or "0,5,-1" names, in order. Raise `InputError`."""
    if text.strip() == "all":
        return list(range(vit.depth))
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(
            f"--layers is {text!r}: give 'all', or numbers separated by commas, such as 0,5,-1"
        ) from None
    return sorted({layer_number(vit, number) for number in numbers})


def separation(
    vit: ViT,
    design: Design,
    layers: Sequence[int],
    structure: Place,
    style: Place,
    *,
    on_pictures: Callable[[int, int], None] = lambda done, total: None,
) -> Separation:
    """Return the figures of every facet of `layers`, and the score of the pair `structure` and `style`."""
    everything = sorted({*layers, structure.layer, style.layer})
    grams = gram_matrices(vit, design, everything, on_pictures=on_pictures)
    generator = torch.Generator().manual_seed(_SEED)
    weights = resamples(len(design.contents), RESAMPLES, generator)
    shown = sorted(
        (place for place in grams if place.layer in (-1, *layers)),
        key=lambda place: (FACETS.index(place.facet), place.layer),
    )
    rows = tuple(_row(place, grams[place], weights) for place in shown)
    return Separation(design, rows, score_of(grams, structure, style, weights, generator))


def score_of(
    grams: dict[Place, Gram],
    structure: Place,
    style: Place,
    weights: Tensor,
    generator: torch.Generator,
    shuffles: int = SHUFFLES,
) -> Score:
    """Return the score of a pair. `weights` are bootstrap samples (`resamples`), `generator` shuffles labels."""

    def value(one: Shares, other: Shares) -> Tensor:
        return one.content.clamp(0, 1) * other.style.clamp(0, 1)

    one, other = grams[structure], grams[style]
    found = float(value(variance_shares(one), variance_shares(other)))
    spread = value(bootstrap_shares(one, weights), bootstrap_shares(other, weights))
    shuffled = []
    for _ in range(shuffles):
        order = torch.randperm(one.contents * one.styles, generator=generator)
        shares = (variance_shares(gram.reordered(order)) for gram in (one, other))
        shuffled.append(value(*shares))
    chance = torch.cat(shuffled)
    reached = int((chance >= found).sum())
    return Score(
        structure,
        style,
        found,
        _interval(spread, found),
        float(chance.mean()),
        (1 + reached) / (1 + shuffles),
    )


def _row(place: Place, gram: Gram, weights: Tensor) -> Row:
    shares, uncorrected = variance_shares(gram), variance_shares(gram, corrected=False)
    drawn = bootstrap_shares(gram, weights)
    return Row(
        place,
        float(shares.content),
        float(shares.style),
        float(shares.rest),
        _interval(drawn.content, float(shares.content)),
        _interval(drawn.style, float(shares.style)),
        (float(uncorrected.content), float(uncorrected.style)),
        content_retrieval(gram),
        style_retrieval(gram),
        gram.constant,
    )


def _interval(values: Tensor, estimate: float) -> Interval:
    """The middle 95 % of the bootstrap values, with the estimate inside even for very few contents."""
    low, high = torch.quantile(values, torch.tensor([0.025, 0.975], dtype=values.dtype)).tolist()
    return min(low, estimate), max(high, estimate)
