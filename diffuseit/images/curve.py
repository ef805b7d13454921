"""The sRGB curve (IEC 61966-2-1): light, as a renderer computes it, to the values of a display and back."""

from __future__ import annotations

import numpy as np


def to_display(light: np.ndarray) -> np.ndarray:
    """Return linear light in [0, 1] as values of a display in [0, 1], of any shape."""
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def to_light(display: np.ndarray) -> np.ndarray:
    """Return values of a display in [0, 1] as linear light in [0, 1], of any shape."""
    return np.where(display <= 0.04045, display / 12.92, ((display + 0.055) / 1.055) ** 2.4)
