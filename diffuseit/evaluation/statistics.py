"""How far a figure of a sample can be trusted."""

import math

from torch import Tensor

Interval = tuple[float, float]
_Z95 = 1.959963984540054


def wilson_interval(successes: int, count: int) -> Interval:
    """Return the 95 % Wilson score interval of a rate."""
    rate, z2 = successes / count, _Z95**2
    center = (rate + z2 / (2 * count)) / (1 + z2 / count)
    half = _Z95 * math.sqrt(rate * (1 - rate) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    return max(min(center - half, rate), 0.0), min(
        max(center + half, rate), 1.0
    )  # rate inside despite rounding


def mean_interval(values: Tensor) -> Interval | None:
    """Return the 95 % normal interval of a mean; None for a single value."""
    if len(values) < 2:
        return None
    values = values.double()
    mean, half = values.mean().item(), _Z95 * values.std().item() / math.sqrt(len(values))
    return mean - half, mean + half
