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
    if levels.dtype.kind == "f" and not np.isfinite(levels).all():
        raise InputError(
            f"{name} has pixels that are not finite numbers (NaN or infinity): replace them first"
        )
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
    if least != largest and (choice.high <= least or choice.low >= largest):
        raise InputError(
            f"the window {choice} shows nothing of {name}, whose levels are {least:g} to {largest:g}: "
            "give another --window LEVEL,WIDTH"
        )
    return choice


def _full(kind: np.dtype) -> Window:
    if kind.kind == "f":
        return Window(0, 1)
    limits = np.iinfo(kind)
    return Window(float(limits.min), float(limits.max))
