"""Several seeds of one translation, ranked by the losses that guided it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError
from ..losses.base import BoundLoss
from ..models.base import Backbone
from ..performance.options import FULL_SPEED, Execution
from .guidance import Guidance
from .rng import SEEDS, Shared
from .settings import MOST_STEPS, SamplerSettings
from .timetable import Visit

_END = Visit(0, level=MOST_STEPS - 1, levels=MOST_STEPS)
"""The last step of a run, in which losses that end earlier do not act."""


@dataclass(frozen=True)
class Variations:
    """k translations of one image, best first: `pictures` [k, 3, H, W], `seeds`, `scores` [k] (lower is better)."""

    pictures: Tensor
    seeds: tuple[int, ...]
    scores: Tensor


@torch.no_grad()
def score(
    pictures: Tensor,
    source: Tensor,
    losses: Sequence[BoundLoss],
    backbone: Backbone,
    seed: int = 0,
    options: Execution = FULL_SPEED,
    steps: int = 1,
) -> Tensor:
    """Return the weighted sum of the losses, as at the end of a run, of images [k, 3, H, W]: [k] on the CPU.

    All images are translations of `source` [1, 3, H, W]. `steps` matters to backbones that know one number of steps.
    """
    sources = source.expand_as(pictures).contiguous()
    rng = Shared(seed, len(pictures))
    guidance = Guidance(losses, sources, backbone, SamplerSettings(steps=steps, skip=0), rng, options=options)
    # The inversion of a source ends at the source.
    guidance.anchors[0] = guidance.x_0
    shown = backbone.view(pictures)
    found = guidance.evaluate({"pred_xstart": shown, "noised": shown}, _END, differentiate=False)
    return sum(found.terms.values(), pictures.new_zeros(len(pictures))).float().cpu()


def ranked(pictures: Tensor, scores: Tensor, seed: int = 0) -> Variations:
    """Return images made with `seed`, `seed` + 1, ... in the order of their scores. The sort is stable.

    After the largest seed comes 0.
    """
    order = scores.argsort(stable=True)
    return Variations(pictures[order], tuple((seed + int(i)) % SEEDS for i in order), scores[order])


def labels(variations: Variations) -> list[str]:
    """Return the seed and the score of each result, on two lines."""
    scores = variations.scores.tolist()
    return [f"seed {seed}\nscore {score:.4g}" for seed, score in zip(variations.seeds, scores, strict=True)]


def check_variations(count: int, source: Tensor) -> None:
    """Raise `InputError` unless `count` variations can be made of the batch `source`."""
    if count < 1:
        raise InputError(f"{count} variations: ask for 1 or more")
    if len(source) != 1:
        raise InputError(f"variations are of one image, and {len(source)} were given: give one")
