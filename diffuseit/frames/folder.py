"""A folder of images as the frames of one film."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from ..errors import InputError
from ..images.folder import images_in
from ..images.io import read_picture, read_size
from ..schema import printable
from .base import MAX_FRAMES, Frame, of_one_size


@dataclass(frozen=True)
class FrameFolder:
    """Images of one size, in the order of the numbers in their names, `rate` of them a second."""

    path: Path
    files: tuple[Path, ...]
    size: tuple[int, int]
    rate: Fraction

    @classmethod
    def open(cls, folder: Path, rate: Fraction) -> FrameFolder:
        """Look into a folder. Raise `InputError` if it has no images, or images of several sizes."""
        return cls.of(folder, sorted(images_in(folder), key=lambda file: natural(file.name)), rate)

    @classmethod
    def of(cls, folder: Path, files: list[Path], rate: Fraction) -> FrameFolder:
        """Return the sequence of the images `files`, which lie in `folder`. Raise `InputError` as `open` does."""
        if len(files) > MAX_FRAMES:
            raise InputError(f"{folder} has {len(files)} images: at most {MAX_FRAMES} are read")
        size = read_size(files[0])
        for file in files[1:]:
            if (other := read_size(file)) != size:
                raise InputError(
                    f"{printable(str(file))} is {other[1]}x{other[0]} pixels, and the images before it "
                    f"{size[1]}x{size[0]}: bring all to one size"
                )
        return cls(folder, tuple(files), size, rate)

    @property
    def count(self) -> int:
        """Return how many frames there are."""
        return len(self.files)

    def frames(self, first: int = 0) -> Iterator[Frame]:
        """Yield the frames from number `first` on (`Sequence.frames`)."""
        for number in range(first, len(self.files)):
            file = self.files[number]
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    picture = of_one_size(read_picture(file), self.size, printable(str(file)))
            except InputError as error:
                raise InputError(f"frame {number}: {error}") from None
            yield Frame(picture, number / self.rate, 1 / self.rate)


def natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts names as a person does: frame2 before frame10."""
    return [
        (int(part[:18]), part) if part.isascii() and part.isdigit() else (-1, part.casefold())
        for part in re.split(r"([0-9]+)", name)
    ]
