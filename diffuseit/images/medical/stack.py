"""A volume, a file of several frames, or one medical image: slices that are read and written one at a time."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ...errors import InputError
from ...schema import printable
from ..deep import DeepPicture
from ..window import Window, WindowChoice
from .cut import Cut
from .grid import Grid

SYNTHETIC = "Synthetic image for augmentation and research, never for diagnosis"


@dataclass(frozen=True)
class About:
    """What a result says of itself: `settings` (a recipe as JSON), what it shows (`to`), and the version of the maker.

    `series` is equal for the slices that belong together. With `keep_identity`, the patient's data go along.
    """

    settings: str
    to: str
    version: str
    series: str
    keep_identity: bool = False


class Stack(ABC):
    """Slices of equal size. `window` holds the levels that become black to white in all; None for 8-bit colors.

    `numbers` are the places of the slices in the file, from 0 on. `noun` is "slice" or "frame".
    """

    noun = "slice"
    path: Path
    numbers: range
    size: tuple[int, int]
    window: Window | None
    cut: Cut

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def name(self) -> str:
        return printable(str(self.path))

    @property
    def is_mask(self) -> bool:
        """Whether the pixels tell where something is, and not how it looks."""
        return False

    @abstractmethod
    def picture(self, index: int) -> Image.Image | DeepPicture:
        """Return a slice of the stack, RGB of 8 bits or levels. Raise `InputError` if it cannot be read."""

    @abstractmethod
    def check_writable(self, grid: Grid, about: About) -> None:
        """Raise `InputError` where `write` would, before the work."""

    @abstractmethod
    def write(
        self, path: Path, suffix: str, pixels: Callable[[int], np.ndarray], grid: Grid, about: About
    ) -> None:
        """Write a file of the kind of the source, as its `suffix` says.

        `pixels` gives the levels [H, W] or colors [H, W, 3] of each slice. It is asked for one after the other, so that
        the memory does not depend on their number.
        """

    def _choose(
        self, choice: WindowChoice, own: Window | None, full: Window, pixels: Callable[[int], np.ndarray]
    ) -> Window:
        """Return the window that an option means, and say which one it is.

        `own` is what the file recommends, `full` all that it can hold. `pixels` gives the levels of each slice that
        count, which may be none. Raise `InputError` for pixels that are not finite numbers.
        """
        least, largest = np.inf, -np.inf
        for index in range(len(self)):
            levels = pixels(index)
            if levels.size == 0:
                continue
            low, high = float(levels.min()), float(levels.max())
            if not np.isfinite((low, high)).all():
                raise InputError(
                    f"{self.name} has pixels that are not finite numbers (NaN or infinity) in {self.noun} "
                    f"{self.numbers[index]}: replace them first"
                )
            least, largest = min(least, low), max(largest, high)
        if least > largest:
            raise InputError(f"{self.name} has nothing but padding: give another file")
        if isinstance(choice, Window):
            if least != largest and (choice.high <= least or choice.low >= largest):
                raise InputError(
                    f"the window {choice} shows nothing of {self.name}, whose levels are {least:g} to {largest:g}: "
                    "give another --window LEVEL,WIDTH"
                )
            return choice
        if choice == "full":
            chosen, which = full, ""
            if least < full.low or largest > full.high:
                raise InputError(
                    f"{self.name} has levels from {least:g} to {largest:g}, beyond the full range of floats, {full}: "
                    "use --window auto or LEVEL,WIDTH"
                )
        elif own is not None and own.low < largest and own.high > least:
            chosen, which = own, ", the window that the file names,"
        else:
            chosen, which = full if least == largest else Window(least, largest), ""
            if least == largest and not full.low <= least <= full.high:
                chosen = Window(least - 0.5, least + 0.5)
        warnings.warn(
            f"{self.name} has levels {least:g} to {largest:g}: {chosen}{which} become black to white",
            stacklevel=3,
        )
        return chosen
