"""Finished slices of a volume, on the disk until all are there: a run that ended early goes on where it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ...errors import InputError
from ...files.atomic import atomic_path
from ..decode import reason

_SETTINGS = "settings.json"


class Parts:
    """The folder OUT.parts beside a result. Several processes may fill it (`files/claim.py`)."""

    def __init__(self, target: Path, settings: str) -> None:
        """Make the folder, or go on with what is there.

        Raise `InputError` if it holds slices of other settings or another source, or cannot be written.
        """
        self.folder = target.with_name(f"{target.name}.parts")
        noted = self.folder / _SETTINGS
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                with atomic_path(noted, overwrite=False) as new:
                    new.write_text(settings, "utf-8")
            except FileExistsError:
                if noted.stat().st_size > 4 * len(settings) + 4 or noted.read_text("utf-8") != settings:
                    raise InputError(
                        f"{self.folder} holds slices of other settings or of another source: remove it, or give "
                        "another name with -o"
                    ) from None
        except (OSError, UnicodeError) as error:
            raise InputError(f"{self.folder} cannot be used: {reason(error)}") from None

    def file(self, index: int) -> Path:
        """Where a slice is."""
        return self.folder / f"{index:05d}.npy"

    def save(self, index: int, pixels: np.ndarray) -> None:
        """Keep a slice."""
        with atomic_path(self.file(index)) as new, new.open("wb") as file:
            np.save(file, np.ascontiguousarray(pixels), allow_pickle=False)

    def reader(self, size: tuple[int, int]) -> Callable[[int], np.ndarray]:
        """Return what reads a slice of `size` (height, width). It raises `InputError` for one that is damaged."""
        return lambda index: self._load(index, size)

    def _load(self, index: int, size: tuple[int, int]) -> np.ndarray:
        try:
            pixels = np.load(self.file(index), mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{self.file(index)} is damaged ({reason(error)}): remove it") from None
        if pixels.shape[:2] != size:
            raise InputError(f"{self.file(index)} is no slice of {size[1]}x{size[0]} pixels: remove it")
        return pixels

    def keep_canvas(self, index: int, canvas: np.ndarray) -> None:
        """Keep a slice [3, H, W] as the model made it: others are held together with it."""
        with atomic_path(self._canvas(index)) as new, new.open("wb") as file:
            np.save(file, canvas, allow_pickle=False)

    def canvas(self, index: int) -> np.ndarray | None:
        """Return what `keep_canvas` got; None if the slice is not there, or cannot be read."""
        if not self.file(index).is_file():
            return None
        try:
            found = np.load(self._canvas(index), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        return found if found.ndim == 3 and found.dtype == np.float32 else None

    def _canvas(self, index: int) -> Path:
        return self.folder / f"{index:05d}-canvas.npy"

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
