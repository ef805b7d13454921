"""Where the pixels of a result lie in its source: what becomes of spacing, position, and affine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..choices import SizeMode

if TYPE_CHECKING:
    from ..resize import Fit


@dataclass(frozen=True)
class Grid:
    """The center of the pixel (row, column) of a result lies at (`top` + row * `down`, `left` + column * `right`).

    That is in pixels of the source, whose first one has its center at (0, 0). `size` is (height, width) of the result.
    """

    size: tuple[int, int]
    top: float
    left: float
    down: float
    right: float

    @classmethod
    def of(cls, fit: Fit, size: SizeMode) -> Grid:
        """Return the grid of a result that `fit` and `size` have made."""
        top, left, height, width = fit.window
        rows, columns = (height, width) if size == "source" else fit.content
        down, right = height / rows, width / columns
        return cls((rows, columns), top + (down - 1) / 2, left + (right - 1) / 2, down, right)

    def is_that_of(self, size: tuple[int, int]) -> bool:
        """Whether this is the grid of a source of `size` itself."""
        return self == Grid(size, 0.0, 0.0, 1.0, 1.0)
