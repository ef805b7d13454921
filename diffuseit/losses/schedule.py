"""Weights that change over a run."""

import math
from collections.abc import Callable

from ..errors import InputError

Points = tuple[tuple[float, float], ...]
"""(progress, factor) pairs: progress is 0 at the noisiest level of a run and 1 at the last."""

SAMPLES = 32
"""How many straight lines approximate a drawn curve."""


def factor_at(points: Points, progress: float) -> float:
    """Return the factor at `progress`, on straight lines through `points`.

    It is constant before the first and after the last point. Of several points at one place, the last counts.
    """
    left = next((point for point in reversed(points) if point[0] <= progress), None)
    right = next((point for point in points if point[0] > progress), None)
    if left is None:
        return points[0][1]
    if right is None:
        return left[1]
    share = (progress - left[0]) / (right[0] - left[0])
    return left[1] + share * (right[1] - left[1])


def check_points(points: Points) -> None:
    """Raise `InputError` if the points are not a schedule."""
    if not points:
        raise InputError("a loss schedule has no points: give at least one pair of progress and factor")
    for progress, factor in points:
        if not 0 <= progress <= 1:
            raise InputError(f"a loss schedule has a point at {progress}: progress goes from 0 to 1")
        if not (math.isfinite(factor) and factor >= 0):
            raise InputError(f"a loss schedule has the factor {factor}: use 0 or more")
    places = [progress for progress, _ in points]
    if places != sorted(places):
        raise InputError("the points of a loss schedule must be in the order of their progress")


def ramp(before: float, after: float, start: float, end: float) -> Points:
    """Return `before` until `start`, `after` from `end` on, and a straight line between. Equal ends make a jump."""
    return ((start, before), (end, after))


def along(curve: Callable[[float], float], before: float, after: float) -> Points:
    """Return `before` where `curve(progress)` is 1, `after` where it is 0, and values between elsewhere.

    The curve is sampled at `SAMPLES` + 1 places and clamped to [0, 1].
    """
    places = [number / SAMPLES for number in range(SAMPLES + 1)]
    heights = [min(max(float(curve(place)), 0.0), 1.0) for place in places]
    return tuple(
        (place, after + (before - after) * height) for place, height in zip(places, heights, strict=True)
    )
