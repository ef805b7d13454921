"""OpenEXR files to arrays and back, one for each channel, through the library OpenEXR (`diffuseit[scientific]`)."""

from __future__ import annotations

import os
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..schema import printable, shown
from .decode import FREE_BYTES, MAX_PIXELS, MOST_PER_BYTE, open_regular

SUFFIXES = (".exr",)
MAGIC = b"\x76\x2f\x31\x01"
MAX_BYTES = 4_000_000_000
"""Of all channels of a file as 32-bit samples: the library decodes them together."""


@dataclass(frozen=True)
class _Box:
    """Pixels of an OpenEXR file: the first column and row, and those after the last."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.bottom - self.top, self.right - self.left

    @property
    def pixels(self) -> int:
        return self.size[0] * self.size[1]

    def common(self, other: _Box) -> _Box:
        return _Box(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        )

    def within(self, canvas: _Box) -> tuple[slice, slice]:
        """The rows and columns of an array of `canvas` that this box covers."""
        return (
            slice(self.top - canvas.top, self.bottom - canvas.top),
            slice(self.left - canvas.left, self.right - canvas.left),
        )


def is_exr(path: Path) -> bool:
    """Whether the name is that of an OpenEXR file."""
    return path.suffix.lower() in SUFFIXES


def is_there() -> bool:
    """Whether the OpenEXR library is installed."""
    return find_spec("OpenEXR") is not None


def exr_size(path: Path) -> tuple[int, int]:
    """Return height and width of the display window. No pixels are decoded. Raise `InputError` as `read_exr` does."""
    return _parts(path)[0].display.size


def read_exr(path: Path) -> dict[str, np.ndarray]:
    """Return the channels of an OpenEXR file by name: [H, W], float16, float32, or uint32 as in the file.

    H and W are those of the display window. A channel is 0 where the file has no pixels of it. Pixels outside the
    display window are left out, with a warning. Values may be infinite or not a number (NaN).

    Channels of all parts are returned. If two parts have channels of one name, they are called "part.channel". Sizes
    are checked before memory is taken: at most 256 megapixels, and 4 GB of pixels in all channels together.

    Raise `InputError` for a file that is missing, damaged, cut off, or too large, for one with deep pixels or with
    subsampled channels, and where the library OpenEXR is missing.
    """
    name = printable(str(path))
    parts = _parts(path)
    with _quiet():
        try:
            decoded = _library().File(str(path), separate_channels=True).parts
        except Exception as error:
            raise _undecodable(name, error) from None
    # The library leaves out parts that it cannot decode.
    found = {part.part_index: part for part in decoded}
    if any(part.number not in found for part in parts):
        raise _undecodable(name, None)
    often = Counter(channel for part in parts for channel in part.channels)
    channels = {}
    cut = False
    for part in parts:
        inside = part.data.common(part.display)
        cut |= inside != part.data
        for channel in part.channels:
            pixels = found[part.number].channels[channel].pixels
            if pixels.shape != part.data.size:
                raise _undecodable(name, None)
            if part.data != part.display:
                canvas = np.zeros(part.display.size, pixels.dtype)
                canvas[inside.within(part.display)] = pixels[inside.within(part.data)]
                pixels = canvas
            channels[channel if often[channel] == 1 else f"{part.name}.{channel}"] = pixels
    if cut:
        warnings.warn(f"{name} has pixels outside its display window, which are left out", stacklevel=2)
    return channels


def exr_attributes(path: Path) -> dict[str, Any]:
    """Return the attributes in the header of the first part, as the library gives them: texts, numbers, and tuples.

    Raise `InputError` as `read_exr` does.
    """
    return dict(_parts(path)[0].header)


def write_exr(path: Path, channels: Mapping[str, np.ndarray], attributes: Mapping[str, Any]) -> None:
    """Write channels [H, W] of float16 or float32 by name, compressed without loss (ZIP).

    Attributes are numbers, tuples of numbers, and texts. Raise `OSError` if the file cannot be written.
    """
    library = _library()
    header = {"compression": library.ZIP_COMPRESSION, "type": library.scanlineimage, **attributes}
    with _quiet():
        try:
            library.File(header, {name: np.ascontiguousarray(each) for name, each in channels.items()}).write(
                str(path)
            )
        except Exception as error:
            raise OSError(f"the library OpenEXR fails: {shown(str(error), 100)}") from None


@dataclass(frozen=True)
class _Part:
    """What the header says of a part. `number` counts from 0."""

    number: int
    name: str
    channels: tuple[str, ...]
    data: _Box
    display: _Box
    deep: bool
    subsampled: bool
    header: Mapping[str, Any]

    def check(self, name: str) -> None:
        """Raise `InputError` for a part that is not read: the library would decode it with the others."""
        if self.deep:
            raise InputError(f"{name} has deep pixels, which are not read: flatten it, and save it again")
        if self.subsampled:
            raise InputError(f"{name} has subsampled channels, which are not read: save it with RGB channels")
        for box in (self.data, self.display):
            if box.pixels > MAX_PIXELS:
                height, width = box.size
                raise InputError(
                    f"{name} is {width}x{height} pixels: make it smaller than {MAX_PIXELS / 1e6:g} megapixels"
                )
        if min(self.data.common(self.display).size) <= 0:
            raise InputError(f"{name} has no pixels in its display window: save it again")


def _parts(path: Path) -> list[_Part]:
    """The parts of a file, within our bounds. No pixels are decoded. Raise `InputError` for what is not read."""
    name = printable(str(path))
    with open_regular(path, name) as file:
        bytes_in_file = os.fstat(file.fileno()).st_size
        if file.read(len(MAGIC)) != MAGIC:
            raise InputError(f"{name} is no OpenEXR file: save or download it again")
    library = _library()
    with _quiet():
        try:
            file_parts = library.File(str(path), separate_channels=True, header_only=True).parts
            parts = [_part(number, part.header, library) for number, part in enumerate(file_parts)]
        except Exception as error:
            raise _undecodable(name, error) from None
    for part in parts:
        part.check(name)
    claimed = sum(4 * len(part.channels) * max(part.data.pixels, part.display.pixels) for part in parts)
    if claimed > MAX_BYTES:
        raise InputError(
            f"{name} has {claimed / 1e9:.1f} GB of pixels in all of its channels: save it with fewer channels"
        )
    if claimed > FREE_BYTES and claimed > MOST_PER_BYTE * bytes_in_file:
        raise InputError(
            f"{name} claims {claimed / 1e9:.1f} GB of pixels in a file of {bytes_in_file} bytes: "
            "save or download it again"
        )
    return parts


def _part(number: int, header: Mapping[str, Any], library: Any) -> _Part:
    """What a header says, with its texts and numbers read: a stranger has written them."""
    channels = header["channels"]
    return _Part(
        number,
        str(header.get("name", number)),
        tuple(channel.name for channel in channels),
        _box(header["dataWindow"]),
        _box(header["displayWindow"]),
        header["type"] not in (library.scanlineimage, library.tiledimage),
        any((channel.xSampling, channel.ySampling) != (1, 1) for channel in channels),
        header,
    )


def _box(window: Any) -> _Box:
    """A box of the library, whose last column and row lie inside."""
    (left, top), (right, bottom) = (tuple(map(int, corner)) for corner in window)
    return _Box(left, top, right + 1, bottom + 1)


def _undecodable(name: str, error: Exception | None) -> InputError:
    if isinstance(error, MemoryError):
        return InputError(f"{name} does not fit into the memory: save it with fewer channels")
    return InputError(
        f"{name} is damaged or cut off, or of a kind that is not read here: save or download it again"
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's messages, which are written to the terminal and name what is in a file unescaped.

    Standard output and error are global, so this is for one thread.
    """
    with redirect_stdout(StringIO()):
        try:
            sys.stderr.flush()
            kept = os.dup(2)
        except (OSError, AttributeError, ValueError):  # no standard error, as in a program without a console
            yield
            return
        try:
            with Path(os.devnull).open("wb") as nothing:
                os.dup2(nothing.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _library() -> Any:
    try:
        import OpenEXR
    except ImportError as error:
        raise InputError(
            f"OpenEXR files need the library OpenEXR: run pip install OpenEXR in this Python ({shown(str(error))})"
        ) from None
    return OpenEXR
