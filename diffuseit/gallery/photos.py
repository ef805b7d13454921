"""A user's own images as subjects of the gallery."""

from __future__ import annotations

import warnings
from pathlib import Path

from ..images.folder import images_in
from ..images.io import read_picture, to_tensor
from ..images.resize import Canvas, Fit, cover
from .sheets import Subject

MOST_PHOTOS = 16


def photo_subjects(
    folder: Path, model: Canvas, to: str, from_: str | None = None, style: Path | None = None
) -> list[Subject]:
    """Return the first `MOST_PHOTOS` images of a folder, cropped to the model's square. Warn of further ones.

    Without `style` each is guided by the next one, unless there is only one. Raise `InputError` for a folder without
    images, or for one that cannot be read.
    """
    found = images_in(folder)
    if len(found) > MOST_PHOTOS:
        warnings.warn(f"{folder} has {len(found)} images: the first {MOST_PHOTOS} are shown", stacklevel=2)
    files = found[:MOST_PHOTOS]
    pictures = [read_picture(file) for file in files]
    sources = [
        Fit.of(picture.size, model, "crop").apply(to_tensor(picture.over("white"))) for picture in pictures
    ]
    if style is None:
        styles = [*sources[1:], sources[0]] if len(sources) > 1 else [None]
    else:
        one = cover(
            to_tensor(read_picture(style).over("white")), (sources[0].shape[-2], sources[0].shape[-1])
        )
        styles = [one] * len(sources)
    return [
        Subject(source, to, from_, style, seed)
        for seed, (source, style) in enumerate(zip(sources, styles, strict=True))
    ]
