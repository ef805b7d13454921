"""What animated images, video files, folders of frames, and views of a scene have in common."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

from ..errors import InputError
from ..images.io import Picture

MAX_FRAMES = 1_000_000
"""Frames of one sequence: more than nine hours at 30 a second."""


@dataclass(frozen=True)
class Frame:
    """A picture of a sequence. It is shown from `start` on, for `duration`, both in seconds."""

    picture: Picture
    start: Fraction = Fraction(0)
    duration: Fraction = Fraction(0)


class Sequence(Protocol):
    """Frames of one size in a file or a folder."""

    @property
    def path(self) -> Path:
        """Return the file or the folder."""
        ...

    @property
    def count(self) -> int:
        """Return how many frames there are, as far as that is known without decoding them."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """Return height and width."""
        ...

    def frames(self, first: int = 0) -> Iterator[Frame]:
        """Yield the frames from number `first` on, one in memory at a time.

        Raise `InputError` that names the frame if it is damaged or has another size.
        """
        ...


@dataclass(frozen=True)
class Range:
    """Frames from number `first` on, up to number `end`, which is not one of them; None is the end of the sequence."""

    first: int = 0
    end: int | None = None

    @classmethod
    def parse(cls, text: str) -> Range:
        """Return the range of a text such as 24:48, 24: or :48. Raise `InputError` for another text."""
        found = re.fullmatch(r"([0-9]{0,9}):([0-9]{0,9})", text.strip(), re.ASCII)
        if found is None:
            raise InputError(
                "--frames takes two numbers, such as 24:48: the first frame, and the one to stop at"
            )
        first, end = int(found[1] or 0), int(found[2]) if found[2] else None
        if end is not None and end <= first:
            raise InputError(
                f"--frames {first}:{end} has no frames: the second number must be the larger one"
            )
        return cls(first, end)

    def within(self, count: int, name: str) -> range:
        """Return the numbers of the frames, of `count`. Raise `InputError` if there are none."""
        if self.first >= count:
            raise InputError(
                f"{name} has {count} frames, from 0 on: --frames {self.first}: is beyond its end"
            )
        return range(self.first, count if self.end is None else min(count, self.end))


def of_one_size(picture: Picture, size: tuple[int, int], name: str) -> Picture:
    """Return the picture. Raise `InputError`, which calls it `name`, unless it has the `size` of its sequence."""
    if picture.size != size:
        raise InputError(
            f"{name} is {picture.size[1]}x{picture.size[0]} pixels, and the frames before it {size[1]}x{size[0]}: "
            "bring all to one size"
        )
    return picture
