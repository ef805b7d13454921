"""A text inside a picture file: PNG's text chunk, EXIF's UserComment (JPEG, WebP), TIFF's ImageDescription."""

from __future__ import annotations

from typing import Any

from PIL import ExifTags, Image, PngImagePlugin

KEY = "diffuseit"
_ASCII = b"ASCII\0\0\0"  # EXIF's name of the character code, before the comment itself
_DESCRIPTION = 270
_LONGEST_JPEG_MARKER = 65_533


def text_options(suffix: str, text: str) -> dict[str, Any]:
    """Return what Pillow's writer of `suffix` needs to carry `text` (ASCII); nothing if the file cannot hold it.

    BMP files hold no text, and JPEG files less than 64 kB.
    """
    if suffix == ".png":
        chunks = PngImagePlugin.PngInfo()
        chunks.add_text(KEY, text)
        return {"pnginfo": chunks}
    if suffix in (".tif", ".tiff"):
        return {"tiffinfo": {_DESCRIPTION: f"{KEY} {text}"}}
    if suffix in (".jpg", ".jpeg", ".webp"):
        exif = Image.Exif()
        comment = f"{KEY} {text}".encode("ascii")
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = _ASCII + comment
        if suffix == ".webp" or len(exif.tobytes()) <= _LONGEST_JPEG_MARKER:
            return {"exif": exif}
    return {}


def text_of(image: Image.Image) -> str | None:
    """Return the text that `text_options` put into the file of an opened picture; None if there is none."""
    if isinstance(chunk := image.info.get(KEY), str):
        return chunk
    exif = image.getexif()
    comment = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment) or exif.get(_DESCRIPTION)
    if isinstance(comment, bytes):
        comment = comment.removeprefix(_ASCII).decode("ascii", "replace")
    if isinstance(comment, str) and comment.startswith(f"{KEY} "):
        return comment.removeprefix(f"{KEY} ")
    return None
