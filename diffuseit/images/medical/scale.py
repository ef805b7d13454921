"""Stored numbers of a file and the levels that they stand for, such as Hounsfield units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..window import Window


@dataclass(frozen=True)
class Scale:
    """level = `slope` * stored + `intercept`. Stored numbers have the type `kind` and, if whole, `low` to `high`."""

    kind: np.dtype
    low: float
    high: float
    slope: float = 1.0
    intercept: float = 0.0

    @classmethod
    def of(cls, kind: np.dtype, slope: float = 1.0, intercept: float = 0.0) -> Scale:
        """Return the scale of a type that uses all its bits."""
        if kind.kind == "f":
            return cls(kind, -np.inf, np.inf, slope, intercept)
        limits = np.iinfo(kind)
        return cls(kind, float(limits.min), float(limits.max), slope, intercept)

    @property
    def is_identity(self) -> bool:
        return self.slope == 1 and self.intercept == 0

    @property
    def limits(self) -> Window:
        """The least to the largest level that can be stored; 0 to 1 for floats, by custom."""
        if self.kind.kind == "f":
            return Window(0, 1)
        ends = (self.slope * self.low + self.intercept, self.slope * self.high + self.intercept)
        return Window(min(ends), max(ends))

    def levels(self, stored: np.ndarray) -> np.ndarray:
        """Return levels, in the type that is stored if they are the same numbers, else whole numbers or floats."""
        if self.is_identity:
            return stored.astype(self.kind.newbyteorder("="), copy=False)
        values = stored.astype(np.float64) * self.slope + self.intercept
        whole = self.kind.kind in "iu" and self.slope.is_integer() and self.intercept.is_integer()
        if whole and max(abs(self.limits.low), abs(self.limits.high)) < 2**31:
            return values.astype(np.int32)
        return values.astype(np.float32 if self.kind.itemsize <= 2 else np.float64)

    def stored(self, levels: np.ndarray) -> np.ndarray:
        """Return the numbers to store for levels, the nearest ones that there are."""
        values = levels if self.is_identity else (levels.astype(np.float64) - self.intercept) / self.slope
        if self.kind.kind == "f":
            return values.astype(self.kind)
        return np.rint(values).clip(self.low, self.high).astype(self.kind)
