"""A loss whose weight changes over the run."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from ..errors import InputError
from .base import FeaturesOf, Loss, Term

Points = tuple[tuple[float, float], ...]
"""(progress, factor) pairs: progress is 0 at the noisiest level of a run and 1 at the last."""


def ramp(before: float, after: float, start: float, end: float) -> Points:
    """The factor `before` until `start`, `after` from `end` on, a straight line between; equal ends make a jump."""
    return ((start, before), (end, after))


SAMPLES = 32
"""Straight lines that stand for a drawn curve."""


def along(curve: Callable[[float], float], before: float, after: float) -> Points:
    """The factor `before` where `curve(progress)` is 1, `after` where it is 0, between the two elsewhere.

    The curve is taken at `SAMPLES` + 1 places and kept within [0, 1].
    """
    places = [number / SAMPLES for number in range(SAMPLES + 1)]
    heights = [min(max(float(curve(place)), 0.0), 1.0) for place in places]
    return tuple(
        (place, after + (before - after) * height) for place, height in zip(places, heights, strict=True)
    )


@dataclass(frozen=True)
class ScheduledLoss:
    """`loss` with its weights multiplied by a factor that follows straight lines through `points` over the run.

    Before the first and after the last point the factor stays; of several points at one place the last counts. Where
    it is 0 nothing is computed. As progress goes by levels, not by visits, it is the same at any number of steps.
    Raises `InputError` for points that cannot work.
    """

    loss: Loss
    points: Points

    def __post_init__(self) -> None:
        if not self.points:
            raise InputError("a loss's schedule has no points: give at least one pair of progress and factor")
        for progress, factor in self.points:
            if not 0 <= progress <= 1:
                raise InputError(f"a loss's schedule has a point at {progress}: progress goes from 0 to 1")
            if not (math.isfinite(factor) and factor >= 0):
                raise InputError(f"a loss's schedule has the factor {factor}: use 0 or more")
        places = [progress for progress, _ in self.points]
        if places != sorted(places):
            raise InputError("the points of a loss's schedule must be in the order of their progress")

    def item(self, index: int) -> "ScheduledLoss":
        """The loss of one picture of the batch."""
        return replace(self, loss=self.loss.item(index))

    def bind(self, source: Tensor, features_of: FeaturesOf) -> Sequence[Term]:
        return [self._scheduled(term) for term in self.loss.bind(source, features_of)]

    def _scheduled(self, term: Term) -> Term:
        inner = term.fade
        if inner is None:
            return replace(term, fade=self.factor)
        return replace(term, fade=lambda progress: inner(progress) * self.factor(progress))

    def factor(self, progress: float) -> float:
        """What the weights are multiplied by at this point of the run."""
        left = next((point for point in reversed(self.points) if point[0] <= progress), None)
        right = next((point for point in self.points if point[0] > progress), None)
        if left is None:
            return self.points[0][1]
        if right is None:
            return left[1]
        share = (progress - left[0]) / (right[0] - left[0])
        return left[1] + share * (right[1] - left[1])
