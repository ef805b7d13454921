"""OpenEXR files as pictures: which of their channels are colors, gray levels, and transparency."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import InputError
from ..schema import printable
from .deep import DeepPicture
from .exr import exr_attributes, read_exr
from .window import Window, WindowChoice, window_of, window_of_light

KEPT = ("chromaticities", "pixelAspectRatio")
"""Attributes that belong to the pixels. A result has them too."""

_REC709 = (0.64, 0.33, 0.3, 0.6, 0.15, 0.06, 0.3127, 0.329)
_MOST_NAMED = 3


def read_exr_picture(path: Path, choice: WindowChoice) -> DeepPicture:
    """Return the colors of an OpenEXR file as linear light, or its gray channel as levels. Warn of the window taken.

    Colors are R, G, and B without a layer, of the layer that is called Combined, or of the only layer that has them.
    Without colors, Y or the only channel is gray. A of the same layer is transparency. Its colors, which are multiplied
    by it, are divided by it. Warn of other channels, and of primaries that are not those of sRGB.

    Raise `InputError` as `read_exr` and `window_of` do, and for a file in which no channels are meant.
    """
    name = printable(str(path))
    channels = read_exr(path)
    attributes = exr_attributes(path)
    layer, names = _chosen(channels, name)
    levels = [_floats(channels[each]) for each in names]
    alpha = _alpha(channels.get(f"{layer}A"), levels[0].shape, name)
    if rest := [each for each in channels if each not in names and each != f"{layer}A"]:
        warnings.warn(f"{name} has other channels, which the result lacks: {_listed(rest)}", stacklevel=2)
    linear = len(names) > 1
    pixels = np.dstack(levels) if linear else levels[0]
    if alpha is not None:
        _divide(pixels, alpha)
    if linear and not _is_srgb(attributes.get("chromaticities")):
        warnings.warn(
            f"{name} has other primaries than sRGB, and its colors are seen as if it had those", stacklevel=2
        )
    window = (window_of_light if linear else window_of)(pixels, choice, name)
    if not isinstance(choice, Window):
        warnings.warn(_said(name, pixels, window), stacklevel=2)
    kept = {each: attributes[each] for each in KEPT if each in attributes}
    image = None if alpha is None else Image.fromarray(alpha)
    return DeepPicture(pixels, window, image, linear=linear, attributes=kept)


def _chosen(channels: Mapping[str, np.ndarray], name: str) -> tuple[str, tuple[str, ...]]:
    """The layer, with a dot at its end, and its channels of colors, or the gray one."""
    layers = [
        layer
        for layer in dict.fromkeys(map(_layer, channels))
        if {f"{layer}{color}" for color in "RGB"} <= channels.keys()
    ]
    combined = [layer for layer in layers if layer.endswith("Combined.")]
    meant = [""] if "" in layers else combined or layers
    if len(meant) > 1:
        raise InputError(f"{name} has colors in several layers ({_listed(meant)}): save one of them")
    if meant:
        return meant[0], tuple(f"{meant[0]}{color}" for color in "RGB")
    grays = [each for each in channels if each.removeprefix(_layer(each)) != "A"]
    if "Y" in grays and "X" not in grays:
        grays = ["Y"]
    if len(grays) != 1:
        raise InputError(f"{name} has no channels R, G, and B ({_listed(channels)}): save it with colors")
    return _layer(grays[0]), (grays[0],)


def _layer(channel: str) -> str:
    """The name before the last dot, with the dot; empty if there is none."""
    return channel[: channel.rfind(".") + 1]


def _floats(pixels: np.ndarray) -> np.ndarray:
    return pixels if pixels.dtype.kind == "f" else pixels.astype(np.float32)


def _alpha(pixels: np.ndarray | None, shape: tuple[int, ...], name: str) -> np.ndarray | None:
    """Transparency as uint8; None for an opaque picture."""
    if pixels is None or pixels.shape != shape:
        return None
    if not np.isfinite(pixels).all():
        raise InputError(
            f"{name} has transparency that is no finite number (NaN or infinity): replace it first"
        )
    alpha = np.rint(pixels.astype(np.float32).clip(0, 1) * 255).astype(np.uint8)
    return None if (alpha == 255).all() else alpha


def _divide(pixels: np.ndarray, alpha: np.ndarray) -> None:
    """Divide levels [H, W] or [H, W, 3] by their transparency where it is not 0."""
    seen = (alpha > 0) & (alpha < 255)
    share = alpha[seen].astype(np.float32) / 255
    most = np.finfo(pixels.dtype).max
    pixels[seen] = (pixels[seen] / (share if pixels.ndim == 2 else share[:, None])).clip(-most, most)


def _is_srgb(primaries: object) -> bool:
    if primaries is None:
        return True
    return isinstance(primaries, tuple) and np.allclose(primaries, _REC709, atol=2e-3)


def _said(name: str, pixels: np.ndarray, window: Window) -> str:
    line = f"{name} has levels {pixels.min():g} to {pixels.max():g}: {window} become black to white"
    brighter = np.count_nonzero(pixels > window.high) / pixels.size
    return f"{line}, and {brighter:.2%} of them are brighter" if brighter else line


def _listed(names: Iterable[str]) -> str:
    found = [printable(each)[:60] for each in names]
    more = len(found) - _MOST_NAMED
    return ", ".join(found[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
