"""What an image file says beside its pixels: its orientation, and what `save_picture` puts into it.

The text lies in PNG's text chunk, EXIF's UserComment (JPEG, WebP), TIFF's ImageDescription, or an attribute of OpenEXR,
and XMP where each format has it. EXIF of strangers is read for single tags, so that no other tag can do harm.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from typing import Any

from PIL import ExifTags, Image, PngImagePlugin

from . import marks

KEY = "diffuseit"
_ASCII = b"ASCII\0\0\0"  # EXIF's name of the character code, before the comment itself
DESCRIPTION = 270
"""The TIFF tag that holds the text."""

_LONGEST_JPEG_MARKER = 65_533
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 7: 1}  # of EXIF's bytes, text, short and long integers, and undefined bytes
_UPRIGHT = 1


def text_options(suffix: str, text: str) -> dict[str, Any]:
    """Return what Pillow's writer of `suffix` needs to carry `text` (ASCII); nothing if the file cannot hold it.

    BMP files hold no text, and JPEG files less than 64 kB.
    """
    if suffix == ".png":
        chunks = PngImagePlugin.PngInfo()
        chunks.add_text(KEY, text)
        return {"pnginfo": chunks}
    if suffix in (".tif", ".tiff"):
        return {"tiffinfo": {DESCRIPTION: f"{KEY} {text}"}}
    if suffix == ".exr":
        return {"attributes": {KEY: text}}
    if suffix in (".jpg", ".jpeg", ".webp"):
        exif = Image.Exif()
        comment = f"{KEY} {text}".encode("ascii")
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = _ASCII + comment
        if suffix == ".webp" or len(exif.tobytes()) <= _LONGEST_JPEG_MARKER:
            return {"exif": exif}
    return {}


def graph_options(suffix: str, graph: Mapping[str, str]) -> dict[str, Any]:
    """Return what Pillow's writer needs to carry ComfyUI's texts by name, such as "prompt" and "workflow".

    They lie where ComfyUI itself writes and reads them: in text chunks of PNG, else in EXIF's tags from Model down.
    Nothing is returned if the file cannot hold them all: JPEG files hold less than 64 kB.
    """
    if suffix == ".png":
        chunks = PngImagePlugin.PngInfo()
        for name, text in graph.items():
            chunks.add_text(name, text)
        return {"pnginfo": chunks}
    if suffix in (".jpg", ".jpeg", ".webp"):
        exif = Image.Exif()
        for number, (name, text) in enumerate(graph.items()):
            exif[ExifTags.Base.Model - number] = f"{name}:{text}"
        if suffix == ".webp" or len(exif.tobytes()) <= _LONGEST_JPEG_MARKER:
            return {"exif": exif}
    return {}


def file_options(
    suffix: str, text: str | None, xmp: bytes | None, graph: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return what Pillow's writer of `suffix` needs to carry `text` (ASCII) and XMP, as far as the file can hold them.

    BMP files hold neither. `graph` has ComfyUI's texts by name (ASCII); see `graph_options`.
    """
    options = {} if text is None else text_options(suffix, text)
    if graph:
        options |= graph_options(suffix, graph)
    if xmp is None:
        return options
    if suffix == ".png":
        options.setdefault("pnginfo", PngImagePlugin.PngInfo()).add_itxt(marks.PNG_KEY, xmp.decode())
    elif suffix in (".tif", ".tiff"):
        options["tiffinfo"] = options.get("tiffinfo", {}) | {marks.TIFF_TAG: xmp}
    elif suffix == ".exr":
        options["attributes"] = options.get("attributes", {}) | {marks.EXR_ATTRIBUTE: xmp.decode()}
    elif suffix in (".jpg", ".jpeg", ".webp"):
        options["xmp"] = xmp
    return options


def text_of(image: Image.Image) -> str | None:
    """Return the text that `text_options` put into the file of an opened image; None if there is none."""
    if isinstance(chunk := image.info.get(KEY), str):
        return chunk
    comment: object = _tag(_exif(image), ExifTags.IFD.Exif, ExifTags.Base.UserComment)
    if isinstance(comment, bytes):
        comment = comment.removeprefix(_ASCII).decode("ascii", "replace")
    else:
        comment = getattr(image, "tag_v2", {}).get(DESCRIPTION)
    if isinstance(comment, str) and comment.startswith(f"{KEY} "):
        return comment.removeprefix(f"{KEY} ")
    return None


def orientation(image: Image.Image) -> int:
    """How the opened image is to be turned, 1 to 8 as EXIF counts; 1, upright, where nothing says so."""
    value = _tag(_exif(image), ExifTags.Base.Orientation)
    turn = _UPRIGHT if value is None else int.from_bytes(value, "big")
    return turn if 1 <= turn <= 8 else _UPRIGHT


def _exif(image: Image.Image) -> bytes:
    """The EXIF block of an opened image, empty where it has none."""
    block = image.info.get("exif", b"")
    if not block and isinstance(profile := image.info.get("Raw profile type exif"), str):  # ImageMagick's PNG
        try:
            block = bytes.fromhex("".join(profile.split("\n")[3:]))
        except ValueError:
            return b""
    return block if isinstance(block, bytes) else b""


def _tag(block: bytes, *path: int) -> bytes | None:
    """The value of the last tag of `path` in big-endian order, None where it is missing or damaged.

    The tags before it lead from directory to directory.
    """
    block = re.sub(rb"^(Exif\0\0)+", b"", block)
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return None
    value = block[4:8] if order == ">" else block[7:3:-1]
    try:
        for tag in path:
            found = _value(block, order, int.from_bytes(value, "big"), tag)
            if found is None:
                return None
            value = found
    except struct.error:
        return None
    return value


def _value(block: bytes, order: str, directory: int, tag: int) -> bytes | None:
    """The value of `tag` in the directory that begins at `directory`. Raise `struct.error` beyond the block's end."""
    (entries,) = struct.unpack_from(f"{order}H", block, directory)
    for entry in range(directory + 2, directory + 2 + 12 * entries, 12):
        found, kind, count = struct.unpack_from(f"{order}HHI", block, entry)
        if found != tag:
            continue
        size = _SIZES.get(kind, 0) * count
        start = entry + 8 if size <= 4 else struct.unpack_from(f"{order}I", block, entry + 8)[0]
        value = block[start : start + size]
        if not size or len(value) < size:
            return None
        return value[::-1] if order == "<" and kind in (3, 4) else value
    return None
