"""Pictures between files and tensors, as a person expects to see them: the only place where the core does this."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import struct
import tempfile
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from ..errors import InputError
from .atomic import atomic_path
from .metadata import text_of, text_options

if TYPE_CHECKING:
    from torch import Tensor

MAX_PIXELS = 150_000_000
OPTIONS: dict[str, dict] = {  # of Pillow's writers, by extension
    ".png": {},
    ".jpg": {"quality": 95, "subsampling": 0},
    ".jpeg": {"quality": 95, "subsampling": 0},
    ".webp": {"quality": 95},
    ".tif": {},
    ".tiff": {},
    ".bmp": {},
}
OPAQUE = (".jpg", ".jpeg", ".bmp")
READABLE = (*OPTIONS, ".gif", ".avif", ".jp2", ".jfif", ".ppm", ".pgm", ".tga")  # in folders


@dataclass(frozen=True)
class Picture:
    """A picture as its file has it: sRGB colours, and its transparency (mode L) where it is not opaque."""

    rgb: Image.Image
    alpha: Image.Image | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.rgb.height, self.rgb.width

    def over(self, colour: str = "white") -> Image.Image:
        """RGB as it looks on a background."""
        if self.alpha is None:
            return self.rgb
        return Image.composite(self.rgb, Image.new("RGB", self.rgb.size, colour), self.alpha)


def load_picture(source: str | os.PathLike[str] | Image.Image) -> Image.Image:
    """The picture as RGB on white; see `read_picture`."""
    return read_picture(source).over("white")


def read_picture(source: str | os.PathLike[str] | Image.Image) -> Picture:
    """The picture upright (EXIF), in sRGB (its colour profile applied), 16 bits scaled to 8.

    Of several frames the first is taken, with a warning; so is a colour profile that cannot be used. Raises
    `InputError` for what is not a picture or cannot be read to its end.
    """
    if isinstance(source, Image.Image):
        return _upright(source, "The picture")
    with open_image(Path(source)) as image:
        return _upright(image, str(source))


def open_image(path: Path) -> Image.Image:
    """Pillow's lazy picture of a file; raises `InputError` for a file that is none."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"{path} cannot be opened: it is no regular file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(path)
    except UnidentifiedImageError:
        raise InputError(f"{path} is not a picture: give a PNG, JPEG, WebP, TIFF, BMP or GIF file") from None
    except Image.DecompressionBombError:
        raise InputError(_too_large(str(path))) from None
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(_unreadable(str(path), error)) from None


def unread_kinds(folder: Path) -> dict[str, int]:
    """Return how many files of each extension in `folder` are not read, most first. Hidden files do not count."""
    suffixes = Counter(
        path.suffix.lower()
        for path in folder.iterdir()
        if path.suffix and not path.name.startswith(".") and path.is_file()
    )
    return {suffix: number for suffix, number in suffixes.most_common() if suffix not in READABLE}


def read_text(path: Path) -> str | None:
    """The text that `save_picture` put into the file's metadata; None where there is none."""
    with open_image(path) as image:
        try:
            return text_of(image)
        except (OSError, SyntaxError, ValueError, KeyError, TypeError, struct.error):  # metadata in any state
            return None


def to_tensor(image: Image.Image) -> Tensor:
    """RGB to [1, 3, H, W] in [-1, 1]."""
    return level_tensor(image.convert("RGB")).mul(2).sub(1)


def level_tensor(image: Image.Image) -> Tensor:
    """Mode L (masks, alpha) or RGB to [1, C, H, W] in [0, 1]."""
    import torch  # here, so that a bad picture is refused before the seconds that torch takes

    pixels = torch.from_numpy(np.array(image)).reshape(image.height, image.width, -1)
    return pixels.permute(2, 0, 1)[None].float().div(255)


def to_pil(tensor: Tensor, *, truncate: bool = False) -> Image.Image:
    """[3, H, W] or [1, 3, H, W] in [-1, 1] to RGB, rounded; the official code cuts off instead (`truncate`)."""
    return level_image(tensor.detach().float().cpu().add(1).div(2), truncate=truncate)


def level_image(tensor: Tensor, *, truncate: bool = False) -> Image.Image:
    """[C, H, W] or [1, C, H, W] in [0, 1] to RGB (three channels) or mode L (one)."""
    if tensor.ndim == 4:
        tensor = tensor.squeeze(0)
    levels = tensor.detach().float().cpu().clamp(0, 1).mul(255)
    levels = levels if truncate else levels.round()
    return Image.fromarray(levels.byte().permute(1, 2, 0).squeeze(2 if len(levels) == 1 else ()).numpy())


def check_writable(path: Path) -> None:
    """Raise `InputError` where `save_picture` would: call it before the heavy work."""
    if path.suffix.lower() not in OPTIONS:
        raise InputError(f"{path} has no picture extension: end it in one of {', '.join(OPTIONS)}")
    check_writable_folder(path.parent)
    try:
        _try_names(path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {_reason(error)}; give another name with -o") from None
    if path.is_dir():
        raise InputError(f"{path} is a folder: give the name of a picture file")


def check_writable_folder(folder: Path) -> None:
    """Raise `InputError` unless files can be written in `folder`, or in a folder made there."""
    try:
        _try_names(folder)
        with tempfile.TemporaryFile(dir=_existing(folder)):
            pass
    except OSError as error:
        raise InputError(f"Cannot write in {folder}: {_reason(error)}; give another place with -o") from None


def _try_names(path: Path) -> None:
    """Raise `OSError` if the file system does not take `path`, or the name of a folder above it that is missing."""
    existing = _existing(path)
    for name in path.parts[len(existing.parts) :]:
        (existing / name).exists()
    path.exists()


def _existing(path: Path) -> Path:
    """The nearest of `path` and the folders above it that exists."""
    for place in (path, *path.parents):
        with contextlib.suppress(OSError):
            if place.exists():
                return place
    return Path(path.anchor)


def save_picture(
    image: Image.Image, path: str | os.PathLike[str], text: str | None = None, *, overwrite: bool = True
) -> None:
    """Write the picture whole or not at all, and make the folders above it. The extension says the format.

    `text` (ASCII) goes into the file's metadata where the format can hold it (`text_options`). Transparency is kept
    where the format has it, else the picture is laid on white. Raise `InputError` if the file cannot be written, and
    `FileExistsError` if `overwrite` is false and it exists.
    """
    path = Path(path)
    check_writable(path)
    kind = path.suffix.lower()
    if image.mode == "RGBA" and kind in OPAQUE:
        image = Picture(image.convert("RGB"), image.getchannel("A")).over("white")
    options = OPTIONS[kind] | ({} if text is None else text_options(kind, text))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {_reason(error)}") from None
    try:
        with atomic_path(path, overwrite=overwrite) as temporary:
            image.save(temporary, format=Image.registered_extensions()[kind], **options)
    except (OSError, ValueError) as error:
        if isinstance(error, FileExistsError) and not overwrite:
            raise
        raise InputError(f"{path} cannot be written: {_reason(error)}") from None


def _upright(image: Image.Image, name: str) -> Picture:
    if image.width * image.height > MAX_PIXELS:
        raise InputError(_too_large(name, image))
    try:
        frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
        if frames > 1:
            warnings.warn(f"{name} has {frames} frames: the first one is used", stacklevel=3)
            image.seek(0)
        profile = image.info.get("icc_profile")
        base, alpha = _split(ImageOps.exif_transpose(image), name)
        return Picture(_srgb(base, profile, name), alpha)
    except InputError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise InputError(
            f"{name} is damaged or cut off: {_reason(error)}; save or download it again"
        ) from None


def _split(image: Image.Image, name: str) -> tuple[Image.Image, Image.Image | None]:
    """Colours (modes L, RGB, CMYK, LAB) and transparency (L), None where the picture is opaque."""
    if image.mode.startswith("I") or image.mode == "F":
        return _eight_bits(image, name)
    alpha = None
    if image.has_transparency_data:
        image = image.convert("LA" if image.mode in ("1", "L", "LA", "La") else "RGBA")
        alpha = image.getchannel("A")
        alpha = None if alpha.getextrema() == (255, 255) else alpha
    if image.mode in ("1", "LA", "La"):
        return image.convert("L"), alpha
    return image if image.mode in ("L", "CMYK", "LAB") else image.convert("RGB"), alpha


def _srgb(image: Image.Image, profile: bytes | None, name: str) -> Image.Image:
    """Colours of `profile` (without one: sRGB, or Pillow's plain CMYK) as sRGB."""
    if profile:
        try:
            return _convert(image, ImageCms.ImageCmsProfile(io.BytesIO(profile)))
        except (ImageCms.PyCMSError, OSError):
            warnings.warn(
                f"{name} has a colour profile that cannot be used: its colours may be off", stacklevel=5
            )
    if image.mode == "LAB":
        return _convert(image, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")))
    return image.convert("RGB")


def _convert(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    converted = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    assert converted is not None  # it is None in place only
    return converted


def _eight_bits(image: Image.Image, name: str) -> tuple[Image.Image, Image.Image | None]:
    """Grey of 16 bits (0..65535) or floats (0..1); Pillow itself would clip both."""
    values = np.array(image, dtype=np.float64)
    top = 1 if image.mode == "F" else 65535
    if not (values.min() >= 0 and values.max() <= top):
        raise InputError(f"{name} has values outside 0..{top}: save it with 8 bits per channel")
    clear = image.info.get("transparency")
    alpha = None if clear is None else Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8))
    return Image.fromarray(np.rint(values * (255 / top)).astype(np.uint8)), alpha


def _too_large(name: str, image: Image.Image | None = None) -> str:
    size = f"{image.width}x{image.height} pixels" if image else "too large"
    return f"{name} is {size}: make it smaller than {MAX_PIXELS // 1_000_000} megapixels"


def _unreadable(name: str, error: Exception) -> str:
    if getattr(error, "strerror", None):
        return f"{name} cannot be opened: {_reason(error)}"
    return f"{name} is damaged or cut off ({_reason(error)}): save or download it again"


def _reason(error: Exception) -> str:
    """The system's words for it, or Pillow's, on one line."""
    return " ".join(str(getattr(error, "strerror", None) or error or type(error).__name__).split())
