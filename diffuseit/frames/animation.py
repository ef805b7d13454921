"""Animated GIF, WebP and PNG files: their frames with their durations, and how often they play."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path

from PIL import Image

from ..errors import InputError
from ..files.atomic import atomic_path
from ..images import marks
from ..images.decode import (
    ANIMATED,
    FORMATS,
    MAX_BYTES_AT_ONCE,
    look_into,
    open_frames,
    open_regular,
    reason,
)
from ..images.io import check_writable_folder, read_picture
from ..images.metadata import file_options
from ..schema import printable
from .base import Frame

SUFFIXES = (".gif", ".webp", ".png", ".apng")
"""Of the files that are read and written."""

MAX_WRITTEN = 100_000_000
"""Pixels of all frames that are written: Pillow holds them until it has the last one."""

_KINDS = {".gif": "GIF", ".webp": "WEBP", ".png": "PNG", ".apng": "PNG"}
_MILLISECOND = Fraction(1, 1000)


@dataclass(frozen=True)
class Animation:
    """The file of an animated image. It plays `plays` times, or forever if that is 0."""

    path: Path
    count: int
    size: tuple[int, int]
    plays: int
    hidden: int = 0
    """Frames at the start that do not belong to the animation: a PNG may have one, for programs that show no others."""

    @classmethod
    def open(cls, path: Path) -> Animation | None:
        """Return the animation in a file; None if it is another kind of file, or has one frame.

        Raise `InputError` for a damaged one.
        """
        if path.suffix.lower() not in chain.from_iterable(FORMATS[kind] for kind in set(_KINDS.values())):
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kind = look_into(path, lambda image, _: image.format)
            if kind not in ANIMATED or (kind == "PNG" and not _says_that_it_moves(path)):
                return None
            with open_frames(path) as (image, total, frame):
                hidden = int(bool(image.info.get("default_image")))
                plays = _plays(image)
                if total - hidden < 2:
                    return None
                size = read_picture(frame(0).copy()).size
        return cls(path, total - hidden, size, plays, hidden)

    def frames(self, first: int = 0) -> Iterator[Frame]:
        """Yield the frames from number `first` on (`Sequence.frames`)."""
        start = Fraction(0)
        with open_frames(self.path) as (_, total, frame):
            for number in range(self.hidden, total):
                opened = frame(number)
                duration = _duration(opened)
                if number - self.hidden >= first:
                    yield Frame(read_picture(opened.copy()), start, duration)
                start += duration


def _says_that_it_moves(path: Path) -> bool:
    """Whether a PNG file has the chunk of an animation. One without may have metadata that `open_frames` refuses."""
    with open_regular(path, printable(str(path))) as file:
        return b"acTL" in file.read(MAX_BYTES_AT_ONCE).partition(b"IDAT")[0]


def check_animation(path: Path, count: int, size: tuple[int, int]) -> None:
    """Raise `InputError` if `save_animation` cannot write `count` frames of `size` (height, width) into `path`."""
    check_writable_folder(path.parent)
    if path.is_dir():
        raise InputError(f"{path} is a folder: give the name of a file")
    if count * size[0] * size[1] > MAX_WRITTEN:
        raise InputError(
            f"{count} frames of {size[1]}x{size[0]} pixels are too many for {path}: give a .mp4 file with -o"
        )


def save_animation(
    frames: Iterable[Frame],
    path: Path,
    plays: int = 0,
    text: str | None = None,
    mark: marks.SourceType | None = None,
) -> None:
    """Write an animated image whole or not at all. The extension says the kind, one of `SUFFIXES`.

    GIF files have whole hundredths of seconds, and the others thousandths. Equal frames in succession may become one
    that is shown longer. `text` (ASCII) and `mark` go into the metadata, which GIF files do not have. Raise
    `InputError` if the file cannot be written.
    """
    suffix = path.suffix.lower()
    kind = _KINDS[suffix]
    images, durations = [], []
    unit, late = Fraction(10 if kind == "GIF" else 1), Fraction(0)
    for frame in frames:
        image = frame.picture.rgb
        if frame.picture.alpha is not None:
            image.putalpha(frame.picture.alpha)
        images.append(image)
        # What one frame loses by rounding, the next one gets, so that the whole keeps its length.
        exact = frame.duration / _MILLISECOND + late
        durations.append(int(round(exact / unit) * unit))
        late = exact - durations[-1]
    options = file_options(
        ".png" if kind == "PNG" else suffix, text, None if mark is None else marks.xmp(mark)
    )
    clear = any(image.has_transparency_data for image in images)
    if kind == "GIF":
        # A GIF says how often it is repeated, and nothing if it plays once. A transparent pixel of it shows the frame
        # before, unless that was removed.
        options |= ({} if plays == 1 else {"loop": max(0, plays - 1)}) | ({"disposal": 2} if clear else {})
    elif kind == "WEBP":
        # Without mixed frames, libwebp 1.6 loses the transparency of frames whose colors are alike.
        options |= {"loop": plays, "quality": 95, "allow_mixed": clear}
    else:
        options |= {"loop": plays}
    try:
        with atomic_path(path) as temporary:
            images[0].save(
                temporary, kind, save_all=True, append_images=images[1:], duration=durations, **options
            )
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be written: {reason(error)}") from None


def _plays(image: Image.Image) -> int:
    loop = image.info.get("loop")
    if image.format == "GIF":
        return 1 if loop is None else 0 if loop == 0 else int(loop) + 1
    return int(loop or 0)


def _duration(image: Image.Image) -> Fraction:
    """How long the frame is shown: a tenth of a second where the file says 0, as viewers do."""
    milliseconds = Fraction(image.info.get("duration") or 0).limit_denominator(1000)
    return (milliseconds if milliseconds > 0 else 100) * _MILLISECOND
