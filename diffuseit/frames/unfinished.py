"""The results of a run that may end early: a folder with a picture for each frame, and what they were made with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..files.atomic import atomic_path
from ..images.decode import open_regular, reason
from ..images.io import check_writable_folder, read_picture, read_text, save_picture, to_pil
from ..schema import parse, printable

if TYPE_CHECKING:
    from torch import Tensor

ABOUT = "film.json"
_LARGEST = 1_000_000


class Unfinished:
    """The finished frames of a run whose settings are `about`, at the size of the model, in a folder of its own."""

    def __init__(self, folder: Path, about: Mapping[str, Any]):
        """Look into `folder`. Raise `InputError` if it has frames with other settings, or if it is something else."""
        self.folder, self._about = folder, json.loads(json.dumps(about))
        check_writable_folder(folder)
        if folder.exists() and self._known() != self._about:
            raise InputError(
                f"{folder} has frames that were made with other settings or from another source: "
                "remove it, or give another name with -o"
            )

    def begin(self) -> None:
        """Make the folder. Raise `InputError` if that is not possible."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_path(self.folder / ABOUT) as new:
                new.write_text(json.dumps(self._about, indent=2), encoding="ascii")
        except OSError as error:
            raise InputError(f"{self.folder} cannot be written: {reason(error)}") from None

    def has(self, number: int) -> bool:
        """Return whether frame `number` is finished."""
        return self._file(number).is_file()

    def picture(self, number: int) -> Tensor | None:
        """Return the finished frame [3, H, W] in [-1, 1], None if it is not there."""
        return read_picture(self._file(number)).tensor()[0] if self.has(number) else None

    def add(self, number: int, picture: Tensor, note: Mapping[str, Any]) -> None:
        """Keep a finished frame [3, H, W] in [-1, 1], and a note of JSON values on it."""
        save_picture(to_pil(picture), self._file(number), json.dumps(note))

    def note(self, number: int) -> Mapping[str, Any]:
        """Return the note on a finished frame, empty where there is none."""
        text = read_text(self._file(number)) if self.has(number) else None
        note = None if text is None else parse(text, printable(str(self._file(number))), _LARGEST)
        return note if isinstance(note, dict) else {}

    def remove(self, numbers: range) -> None:
        """Remove the folder, unless it has frames of other numbers, or files of somebody else."""
        with suppress(OSError):
            files = list(self.folder.glob("[0-9]*.png"))
            if {file.name for file in files} <= {self._file(number).name for number in numbers}:
                for file in (*files, self.folder / ABOUT):
                    file.unlink(missing_ok=True)
                self.folder.rmdir()

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:06}.png"

    def _known(self) -> Any:
        file = self.folder / ABOUT
        if not file.is_file():
            return None
        with open_regular(file, printable(str(file))) as opened:
            return parse(opened.read(_LARGEST), printable(str(file)), _LARGEST)
