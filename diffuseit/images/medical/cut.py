"""Which slices of a volume, or frames of a file, are translated, and whether they are held together."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from ...errors import InputError
from ...schema import check, number, shown

Plane = Literal["axial", "coronal", "sagittal"]
PLANES: tuple[Plane, ...] = get_args(Plane)
_MOST = 10**9


@dataclass(frozen=True)
class Cut:
    """Slices from `first` up to, but not including, `end`, counted from 0; to the last one where `end` is None.

    `plane` is that of the slices of a NIfTI volume, axial where it is None. `volume` is one of several, from 0 on. If
    `together` is not 0, slices are translated `at_once` (None: as many as a film's frames), and in each step the
    predictions go so much (0 to 1) of the way to the mean of their neighbors. All slices have the same noise.
    """

    first: int = number(0, low=0, high=_MOST)
    end: int | None = number(None, low=1, high=_MOST)
    plane: Plane | None = None
    volume: int | None = number(None, low=0, high=_MOST)
    together: float = number(0.0, low=0.0, high=1.0)
    at_once: int | None = number(None, low=1, high=1000)

    def __post_init__(self) -> None:
        check(self)
        if self.end is not None and self.end <= self.first:
            raise InputError(f"the slices {self} are none: use A:B with A below B")

    def __str__(self) -> str:
        return f"{self.first}:{'' if self.end is None else self.end}"

    @classmethod
    def parse(cls, slices: str | None, plane: Plane | None = None, volume: int | None = None) -> Cut:
        """Return the cut that options name: A:B, A:, :B, or A alone. Raise `InputError` for anything else."""
        if slices is None:
            return cls(plane=plane, volume=volume)
        found = re.fullmatch(r"(\d{0,9})(:?)(\d{0,9})", slices)
        if found is None or not (found[1] or found[3]):
            raise InputError(f"--slices is {shown(slices)}: use A:B, counted from 0, B not included")
        first = int(found[1] or 0)
        end = int(found[3]) if found[3] else None if found[2] else first + 1
        return cls(first, end, plane, volume)

    def of(self, count: int, name: str, noun: str) -> range:
        """Return the numbers that are cut from `count` slices. Raise `InputError` if some are not there."""
        end = count if self.end is None else self.end
        if end > count or self.first >= count:
            raise InputError(
                f"{name} has {count} {noun}{'' if count == 1 else 's'}, counted from 0: --slices {self} is beyond them"
            )
        return range(self.first, end)
