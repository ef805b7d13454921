"""Pictures of more than 8 bits: gray or color levels as their file has them, with the window that a model sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ..errors import InputError
from . import exr, marks
from .curve import to_display, to_light
from .metadata import DESCRIPTION
from .png import write_png
from .window import Window

if TYPE_CHECKING:
    from torch import Tensor

TIFF_SUFFIXES = (".tif", ".tiff")
_ROWS = 256


@dataclass(frozen=True)
class DeepPicture:
    """Levels [H, W] (gray) or [H, W, 3] of 16 or 32 bits or floats, and transparency (mode L) if it is not opaque.

    `inverted` ones have white at the low end of the window and black at its high end, as DICOM's MONOCHROME1. Gray
    levels of medical files may have 8 bits. `linear` colors are proportional to light, and are seen through the sRGB
    curve. OpenEXR files have `attributes` beside the pixels.
    """

    levels: np.ndarray
    window: Window
    alpha: Image.Image | None = None
    inverted: bool = False
    linear: bool = False
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width

    @property
    def width(self) -> int:
        return self.levels.shape[1]

    @property
    def height(self) -> int:
        return self.levels.shape[0]

    def tensor(self, background: str | None = None) -> Tensor:
        """Return the window as [1, 3, H, W] in [-1, 1], gray in each channel, laid on white where `background` says so.

        No level of 16 bits is lost.
        """
        import torch  # here, so that a bad image is refused before the seconds that torch takes

        values = torch.empty(1, 3, *self.size)
        for rows in _strips(self.height):
            strip = torch.from_numpy(self._unit(self.levels[rows]) * 2 - 1).float()
            values[0, :, rows] = strip if self.levels.ndim == 2 else strip.movedim(2, 0)
        if background is not None and self.alpha is not None:
            alpha = torch.from_numpy(np.array(self.alpha)).float().div_(255)
            values.sub_(1).mul_(alpha).add_(1)
        return values

    def result(
        self,
        image: Tensor,
        alpha: Image.Image | None,
        window: tuple[int, int, int, int],
        protected: Tensor | None,
    ) -> DeepPicture:
        """Return [1, 3, H, W] in [-1, 1] in the levels of this picture, gray (the mean of the channels) if it is.

        Where `protected` [H, W] is true, the levels are those of this picture in `window` (top, left, height, width).
        Light beyond the window comes back in the measure in which the result is white there too.
        """
        pixels = image.detach().cpu()[0]
        top, left, height, width = window
        own = self.levels[top : top + height, left : left + width]
        kind, gray = self.levels.dtype, self.levels.ndim == 2
        levels = np.empty((*pixels.shape[1:], *(() if gray else (3,))), kind)
        span = self.window.high - self.window.low
        excess = self._excess(own, levels.shape) if self.linear else None
        for rows in _strips(len(levels)):
            strip = pixels[:, rows].double().clamp(-1, 1)
            unit = (strip.mean(0) if gray else strip.movedim(0, 2)).add(1).div(2).numpy()
            if self.inverted:
                unit = 1 - unit
            if excess is not None:
                unit = _lit(unit, excess[rows])
            levels[rows] = _as_kind(self.window.low + unit * span, kind)
        if protected is not None:
            kept = protected.cpu().numpy()
            levels[kept] = own[kept]
        return replace(self, levels=levels, alpha=alpha)

    def shown(self) -> Image.Image:
        """Return the window at 8 bits: mode L or RGB, LA or RGBA with transparency."""
        levels = np.empty(self.levels.shape, np.uint8)
        for rows in _strips(len(levels)):
            levels[rows] = np.rint(self._unit(self.levels[rows]) * 255)
        image = Image.fromarray(levels)
        if self.alpha is not None:
            image.putalpha(self.alpha)
        return image

    def over(self, background: str = "white") -> Image.Image:
        """Return the window as RGB of 8 bits on a background."""
        image = self.shown()
        if self.alpha is None:
            return image.convert("RGB")
        return Image.composite(image.convert("RGB"), Image.new("RGB", image.size, background), self.alpha)

    def save(self, path: Path, suffix: str, options: Mapping[str, Any]) -> None:
        """Write the file as PNG, TIFF, or OpenEXR, which `suffix` says, with the metadata in `options`.

        PNG files have 16 bits. Levels of another type are stretched, the window to 0..65535. TIFF files have the type
        of the levels, but light is as in PNG files. OpenEXR files hold floats and, with transparency, colors that are
        multiplied by it. Inverted levels are mirrored in the window. Raise `InputError` for a file that needs a library
        that is missing.
        """
        if self.inverted:
            self._upright().save(path, suffix, options)
        elif suffix in exr.SUFFIXES:
            exr.write_exr(path, self._channels(), {**self.attributes, **options.get("attributes", {})})
        elif suffix in TIFF_SUFFIXES and (self.linear or self.levels.dtype == np.float16):
            self._for_tiff().save(path, suffix, options)
        elif suffix not in TIFF_SUFFIXES and self.levels.dtype == np.uint8:
            image = Image.fromarray(self.levels)
            if self.alpha is not None:
                image.putalpha(self.alpha)
            image.save(path, format="PNG", **options)
        elif suffix not in TIFF_SUFFIXES:
            write_png(path, self._with_alpha(self._sixteen_bits()), options.get("pnginfo"))
        elif _pillow_writes(self):
            Image.fromarray(self.levels).save(path, format="TIFF", **options)
        else:
            tags = options.get("tiffinfo", {})
            xmp = tags.get(marks.TIFF_TAG)
            levels = self.levels if self.alpha is None else self._with_alpha(_colored(self.levels))
            _tifffile().imwrite(
                path,
                levels,
                photometric="minisblack" if levels.ndim == 2 else "rgb",
                extrasamples=None if self.alpha is None else ["unassalpha"],
                description=tags.get(DESCRIPTION),
                extratags=() if xmp is None else [(marks.TIFF_TAG, "B", len(xmp), xmp, True)],
                metadata=None,
                software=False,
            )

    def check_fits(self, suffix: str) -> str | None:
        """Return, in words, what a file with this suffix does not hold of the levels; None if it holds all.

        Raise `InputError` for a TIFF file that cannot be written.
        """
        if suffix in exr.SUFFIXES:
            return None
        if suffix in TIFF_SUFFIXES and not _pillow_writes(self):
            _tifffile()
        if self.inverted:
            return f"{suffix[1:].upper()} files have low levels dark: those of MONOCHROME1 are mirrored in the window"
        if self.linear and (suffix == ".png" or suffix in TIFF_SUFFIXES):
            return (
                f"{suffix[1:].upper()} files hold what a display shows: light of {self.window} becomes black to white "
                "through the sRGB curve; -o NAME.exr keeps it"
            )
        if suffix in TIFF_SUFFIXES:
            return None
        if suffix != ".png":
            return f"{suffix[1:].upper()} files hold 8 bits: levels {self.window} become 0 to 255; use .png or .tif"
        if self.levels.dtype not in (np.uint8, np.uint16):
            kind = "floats" if self.levels.dtype.kind == "f" else f"levels of type {self.levels.dtype}"
            return f"PNG files hold no {kind}: levels {self.window} become 0 to 65535; -o NAME.tif keeps them"
        return None

    def _unit(self, levels: np.ndarray) -> np.ndarray:
        """Levels as float64, the window as [0, 1]."""
        window = self.window
        unit = ((levels.astype(np.float64) - window.low) / (window.high - window.low)).clip(0, 1)
        if self.linear:
            unit = to_display(unit)
        return 1 - unit if self.inverted else unit

    def _excess(self, own: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """How far levels [H, W, 3] are beyond the window: light by its white, at least 1, on the pixels of `shape`."""
        import torch
        import torch.nn.functional as F

        if own.shape[:2] != shape[:2]:
            light = torch.from_numpy(np.ascontiguousarray(own)).float().permute(2, 0, 1)
            own = F.interpolate(light[None], shape[:2], mode="area")[0].permute(1, 2, 0).numpy()
        window = self.window
        return ((own.astype(np.float32) - window.low) / (window.high - window.low)).clip(min=1)

    def _upright(self) -> DeepPicture:
        """The same picture with high levels bright."""
        levels = np.empty_like(self.levels)
        for rows in _strips(len(levels)):
            mirrored = self.window.low + self.window.high - self.levels[rows].astype(np.float64)
            levels[rows] = _as_kind(mirrored, levels.dtype)
        return DeepPicture(levels, self.window, self.alpha)

    def _sixteen_bits(self) -> np.ndarray:
        if self.levels.dtype == np.uint16:
            return self.levels
        levels = np.empty(self.levels.shape, np.uint16)
        for rows in _strips(len(levels)):
            levels[rows] = np.rint(self._unit(self.levels[rows]) * 65535)
        return levels

    def _for_tiff(self) -> DeepPicture:
        """The same picture in a type that programs read in a TIFF file."""
        if not self.linear:
            return replace(self, levels=self.levels.astype(np.float32))
        return replace(self, levels=self._sixteen_bits(), window=Window(0, 65_535), linear=False)

    def _channels(self) -> dict[str, np.ndarray]:
        """The channels of an OpenEXR file."""
        colors = (
            dict(zip("RGB", np.moveaxis(self.levels, 2, 0), strict=True)) if self.levels.ndim == 3 else {}
        )
        colors = colors or {"Y": self.levels}
        if self.alpha is None:
            return colors
        alpha = np.asarray(self.alpha).astype(np.float32) / 255
        kind = self.levels.dtype
        return {name: (each * alpha).astype(kind) for name, each in colors.items()} | {
            "A": alpha.astype(kind)
        }

    def _with_alpha(self, levels: np.ndarray) -> np.ndarray:
        if self.alpha is None:
            return levels
        return np.dstack([levels, np.asarray(self.alpha).astype(np.uint16) * 257])


def _strips(height: int) -> list[slice]:
    """Rows at a time: what is computed in float64 needs eight bytes for each level."""
    return [slice(start, min(start + _ROWS, height)) for start in range(0, height, _ROWS)]


def _as_kind(values: np.ndarray, kind: np.dtype) -> np.ndarray:
    if kind.kind == "f":
        return values.clip(np.finfo(kind).min, np.finfo(kind).max).astype(kind)
    limits = np.iinfo(kind)
    return np.rint(values).clip(limits.min, limits.max).astype(kind)


def _lit(display: np.ndarray, excess: np.ndarray) -> np.ndarray:
    """Values of a display [H, W, 3] as light, with the excess of the source where they are white.

    The excess counts from middle gray on and wholly at white, by the darkest of the channels that have one: a color
    would get a fringe otherwise.
    """
    whiteness = np.where(excess > 1, 2 * display - 1, 1).min(2, keepdims=True).clip(0, 1)
    return to_light(display) * (1 + (excess - 1) * whiteness)


def _colored(levels: np.ndarray) -> np.ndarray:
    """RGB, since few programs read a TIFF file of gray with transparency."""
    return np.repeat(levels[..., None], 3, axis=2) if levels.ndim == 2 else levels


def _pillow_writes(picture: DeepPicture) -> bool:
    """Whether Pillow writes these levels to TIFF."""
    kind = picture.levels.dtype
    return (
        picture.alpha is None
        and picture.levels.ndim == 2
        and kind in (np.uint8, np.uint16, np.int32, np.float16, np.float32)
    )


def _tifffile():  # type: ignore[no-untyped-def]
    try:
        import tifffile
    except ImportError:
        raise InputError(
            "TIFF files of 16-bit colors or signed levels need tifffile: "
            "run pip install 'diffuseit[scientific]', or give a name that ends in .png"
        ) from None
    return tifffile
