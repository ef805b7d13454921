"""The window of a picture of more than 8 bits: which of its levels a model sees as black and as white.

Without torch, so that the command's options are read at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..errors import InputError
from ..schema import check, number, shown

_FARTHEST = 1e38
_MIDDLE_GRAY = 0.18
"""What the median of a picture's light becomes where "auto" exposes it."""
_DIM, _GLARING = 0.02, 1.0
"""Between these two, the median shows that the picture is exposed."""


@dataclass(frozen=True)
class Window:
    """Levels from `low`, which becomes black, to `high`, which becomes white. Levels outside are cut off."""

    low: float = number(low=-_FARTHEST, high=_FARTHEST)
    high: float = number(low=-_FARTHEST, high=_FARTHEST)

    def __post_init__(self) -> None:
        check(self)
        if self.low >= self.high:
            raise InputError(
                f"the window reaches from {self.low:g} to {self.high:g}: its width must be above 0"
            )

    def __str__(self) -> str:
        return f"{self.low:.10g} to {self.high:.10g}"


WindowChoice = Window | Literal["auto", "full"]


def parse_window(text: str) -> WindowChoice:
    """Return the window that an option names: LEVEL,WIDTH, the middle and the width of its levels; 'auto'; or 'full'.

    Raise `InputError` for anything else.
    """
    if text == "auto":
        return "auto"
    if text == "full":
        return "full"
    try:
        level, width = map(float, text.split(","))
    except ValueError:
        raise InputError(
            f"--window is {shown(text)}: use LEVEL,WIDTH such as 40,400, or auto, or full"
        ) from None
    if not (math.isfinite(level) and math.isfinite(width) and width > 0):
        raise InputError(f"--window is {shown(text)}: LEVEL and WIDTH must be finite, and WIDTH above 0")
    return Window(level - width / 2, level + width / 2)


def window_of(levels: np.ndarray, choice: WindowChoice, name: str) -> Window:
    """Return the window of the levels of the picture `name`, integers or floats of any shape.

    "full" is all that the type holds, 0 to 1 for floats. "auto" is that too where levels above its middle occur and
    none outside, as in photos; else the least to the largest level, as for 12 bits in a file of 16, or for signed
    levels. Raise `InputError` for levels that are not finite, and for a window that shows nothing of them.
    """
    _check_finite(levels, name)
    least, largest = float(levels.min()), float(levels.max())
    full = _full(levels.dtype)
    inside = full.low <= least and largest <= full.high
    if choice == "auto":
        used = inside and full.low == 0 and largest > full.high / 2
        return full if used or least == largest else Window(least, largest)
    if choice == "full":
        if not inside:
            raise InputError(
                f"{name} has levels from {least:g} to {largest:g}, beyond the full range of floats, {full}: "
                "use --window auto or LEVEL,WIDTH"
            )
        return full
    return _checked(choice, least, largest, name)


def window_of_light(light: np.ndarray, choice: WindowChoice, name: str) -> Window:
    """Return the window of the linear light of the picture `name`, floats of any shape.

    "full" is 0 to 1, what a display shows. "auto" is that too, unless the picture would be nearly black or white: then
    the median of what is above 0 becomes middle gray. Raise `InputError` as `window_of` does.
    """
    _check_finite(light, name)
    if isinstance(choice, Window):
        return _checked(choice, float(light.min()), float(light.max()), name)
    # A part of the pixels at even steps is enough.
    some = light.reshape(-1)[:: max(1, light.size >> 20)]
    lit = some[some > 0].astype(np.float64)
    median = float(np.median(lit)) if lit.size else _MIDDLE_GRAY
    exposed = choice == "full" or _DIM <= median <= _GLARING
    return Window(0, 1 if exposed else median / _MIDDLE_GRAY)


def _check_finite(levels: np.ndarray, name: str) -> None:
    if levels.dtype.kind == "f" and not np.isfinite(levels).all():
        raise InputError(
            f"{name} has pixels that are not finite numbers (NaN or infinity): replace them first"
        )


def _checked(window: Window, least: float, largest: float, name: str) -> Window:
    """The window, if it shows something."""
    if least != largest and (window.high <= least or window.low >= largest):
        raise InputError(
            f"the window {window} shows nothing of {name}, whose levels are {least:g} to {largest:g}: "
            "give another --window LEVEL,WIDTH"
        )
    return window


def _full(kind: np.dtype) -> Window:
    if kind.kind == "f":
        return Window(0, 1)
    limits = np.iinfo(kind)
    return Window(float(limits.min), float(limits.max))
