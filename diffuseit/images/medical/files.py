"""Medical files of any kind: as stacks, as one picture, and the recipe in a result."""

from __future__ import annotations

import warnings
from pathlib import Path

from PIL import Image

from ...errors import InputError
from ..deep import DeepPicture
from ..window import Window, WindowChoice
from .cut import Cut
from .kinds import kind_of
from .stack import Stack


def open_stack(path: Path, choice: WindowChoice, cut: Cut = Cut()) -> Stack:  # noqa: B008
    """Return the slices of a medical file. Warn of the window that was chosen. Raise `InputError` as it says there."""
    if kind_of(path) == "DICOM":
        from .dicom_result import DicomStack

        return DicomStack(path, choice, cut)
    from .nifti import NiftiStack

    return NiftiStack(path, choice, cut)


def read_slice(path: Path, choice: WindowChoice) -> Image.Image | DeepPicture:
    """Return one image of a medical file, with a warning if it has more: the first frame, or the middle slice."""
    if kind_of(path) == "DICOM":
        stack = open_stack(path, choice, Cut(0, 1))
        several = stack.frames > 1  # type: ignore[attr-defined]
        index, which = 0, "several frames: the first one"
    else:
        stack = open_stack(path, choice, Cut())
        several, index = len(stack) > 1, len(stack) // 2
        which = f"{len(stack)} slices: number {index}"
    if several:
        warnings.warn(f"{stack.name} has {which} is used", stacklevel=3)
    if isinstance(choice, Window) and stack.window is None:
        raise InputError(f"{stack.name} has 8 bits a channel: the window {choice} is for pictures of more")
    return stack.picture(index)


def settings_in(path: Path) -> str | None:
    """Return the recipe in a result; None where there is none."""
    if kind_of(path) == "DICOM":
        from .dicom_result import settings_in as read
    else:
        from .nifti import settings_in as read
    return read(path)
