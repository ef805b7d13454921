"""The library that reads and writes C2PA manifests, c2pa-python, and how it is used here."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import ModelError
from ..images.decode import look_into
from ..images.exr import is_exr
from ..images.medical.kinds import kind_of

NAMESPACE = "io.github.diffuseit"
"""Before the names of our own fields in a manifest."""

RECIPE = f"{NAMESPACE}.recipe"
"""The settings of the result as JSON text. The library would read a list of numbers as bytes."""

SOURCE = f"{NAMESPACE}.sourceSha256"
"""The SHA-256 of the source's file: an ingredient without a manifest of its own has no hash."""

TYPES = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",
    "WEBP": "image/webp",
    "TIFF": "image/tiff",
    "GIF": "image/gif",
    "AVIF": "image/avif",
    "HEIF": "image/heif",
}
"""Pillow's formats that can hold a manifest, as media types."""

SIGNABLE = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
}
"""Extensions of results that can be signed, as media types."""


@cache
def library() -> Any:
    """Return the module c2pa. Raise `ModelError` that says how to get it. It brings the package cryptography."""
    try:
        import c2pa
    except (ImportError, OSError) as error:
        raise ModelError(
            f"Signatures need the package c2pa-python: run `pip install c2pa-python` ({error})"
        ) from None
    return c2pa


def available() -> bool:
    """Return whether signatures can be checked here."""
    try:
        library()
    except ModelError:
        return False
    return True


def context(anchors: str = "") -> Any:
    """Return c2pa's context that reaches no network, and trusts the root certificates `anchors` (PEM)."""
    c2pa = library()
    settings: dict[str, Any] = {
        "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
        "builder": {"thumbnail": {"enabled": False}},
    }
    if anchors:
        settings["trust"] = {"user_anchors": anchors}
    return c2pa.Context(c2pa.Settings.from_dict(settings))


def media_type(path: Path) -> str | None:
    """Return the media type of an image file by its content; None for one that cannot hold a manifest.

    Raise `InputError` for what is no image.
    """
    if kind_of(path) is not None or is_exr(path):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return TYPES.get(str(look_into(path, lambda image, _: image.format)))
