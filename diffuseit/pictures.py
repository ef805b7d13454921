"""Pictures between files and tensors, as a person expects to see them: the only place where the core does this."""

from __future__ import annotations

import io
import os
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from .errors import InputError
from .files import atomic_path

if TYPE_CHECKING:
    from torch import Tensor

MAX_PIXELS = 150_000_000
MIN_SIDE = 8
MAX_ASPECT = 4
OPTIONS: dict[str, dict] = {  # of Pillow's writers, by extension
    ".png": {},
    ".jpg": {"quality": 95, "subsampling": 0},
    ".jpeg": {"quality": 95, "subsampling": 0},
    ".webp": {"quality": 95},
    ".tif": {},
    ".tiff": {},
    ".bmp": {},
}


def load_picture(source: str | os.PathLike[str] | Image.Image) -> Image.Image:
    """The picture as RGB, upright (EXIF), transparency on white, 16 bits scaled to 8.

    Of several frames the first is taken, with a warning. Raises `InputError` for what is not a picture or cannot be
    read to its end.
    """
    if isinstance(source, Image.Image):
        return _upright_rgb(source, "The picture")
    path = Path(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path)
    except UnidentifiedImageError:
        raise InputError(f"{path} is not a picture: give a PNG, JPEG, WebP, TIFF, BMP or GIF file") from None
    except Image.DecompressionBombError:
        raise InputError(_too_large(str(path))) from None
    except (OSError, ValueError) as error:
        raise InputError(_unreadable(str(path), error)) from None
    with image:
        return _upright_rgb(image, str(path))


def fit_to(image: Image.Image, size: int, multiple: int, *, stretch: bool = False) -> Image.Image:
    """The picture at the size a model wants, both sides multiples of `multiple`.

    The shorter side becomes `size` (itself a multiple), and what rounding leaves over is cropped evenly. `stretch`
    squashes to `size` x `size` instead, as the official code does.
    """
    if stretch:
        return _not_tiny(image).resize((size, size), Image.Resampling.LANCZOS)
    width, height = image.size
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise InputError(
            f"The picture is {width}x{height} pixels: crop it so that no side is over {MAX_ASPECT} times the other"
        )
    scale = size / min(width, height) / multiple
    return cover(image, (round(width * scale) * multiple, round(height * scale) * multiple))


def cover(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture at exactly width x height, its aspect kept and what is over cropped evenly."""
    return ImageOps.fit(_not_tiny(image), size, Image.Resampling.LANCZOS)


def to_tensor(image: Image.Image) -> Tensor:
    """RGB to [1, 3, H, W] in [-1, 1]."""
    import torch  # here, so that a bad picture is refused before the seconds that torch takes

    pixels = torch.from_numpy(np.array(image.convert("RGB")))
    return pixels.permute(2, 0, 1)[None].float().div(255).mul(2).sub(1)


def to_pil(tensor: Tensor, *, truncate: bool = False) -> Image.Image:
    """[3, H, W] or [1, 3, H, W] in [-1, 1] to RGB, rounded; the official code cuts off instead (`truncate`)."""
    if tensor.ndim == 4:
        tensor = tensor.squeeze(0)
    levels = tensor.detach().float().cpu().add(1).div(2).clamp(0, 1).mul(255)
    levels = levels if truncate else levels.round()
    return Image.fromarray(levels.byte().permute(1, 2, 0).numpy())


def check_writable(path: Path) -> None:
    """Raises `InputError` where `save_picture` would: call it before the heavy work."""
    if path.suffix.lower() not in OPTIONS:
        raise InputError(f"{path} has no picture extension: end it in one of {', '.join(OPTIONS)}")
    if path.is_dir():
        raise InputError(f"{path} is a folder: give the name of a picture file")
    check_writable_folder(path.parent)


def check_writable_folder(folder: Path) -> None:
    """Raises `InputError` unless files can be written in `folder`, or in a folder made there."""
    try:
        existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise InputError(f"Cannot write in {folder}: {_reason(error)}; give another place with -o") from None


def save_picture(image: Image.Image, path: str | os.PathLike[str]) -> None:
    """Write the picture whole or not at all, and the folders above it. The extension says the format."""
    path = Path(path)
    check_writable(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            image.save(temporary, **OPTIONS[path.suffix.lower()])
    except OSError as error:
        raise InputError(f"{path} cannot be written: {_reason(error)}") from None


def _not_tiny(image: Image.Image) -> Image.Image:
    if min(image.size) < MIN_SIDE:
        raise InputError(
            f"The picture is {image.width}x{image.height} pixels: at least {MIN_SIDE}x{MIN_SIDE} are needed"
        )
    return image


def _upright_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.width * image.height > MAX_PIXELS:
        raise InputError(_too_large(name, image))
    try:
        frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
        if frames > 1:
            warnings.warn(f"{name} has {frames} frames: the first one is used", stacklevel=3)
            image.seek(0)
        return _rgb(ImageOps.exif_transpose(image), name)
    except InputError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise InputError(
            f"{name} is damaged or cut off: {_reason(error)}; save or download it again"
        ) from None


def _rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return _eight_bits(image, name).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    if image.mode == "CMYK" and (profile := image.info.get("icc_profile")):
        try:
            srgb = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, io.BytesIO(profile), srgb, outputMode="RGB")
            return converted or image.convert("RGB")
        except ImageCms.PyCMSError:
            pass  # a broken profile: plain conversion below
    return image.convert("RGB")


def _eight_bits(image: Image.Image, name: str) -> Image.Image:
    """Grey of 16 bits (0..65535) or floats (0..1); Pillow itself would clip both."""
    values = np.array(image, dtype=np.float64)
    top = 1 if image.mode == "F" else 65535
    if not (values.min() >= 0 and values.max() <= top):
        raise InputError(f"{name} has values outside 0..{top}: save it with 8 bits per channel")
    return Image.fromarray(np.rint(values * (255 / top)).astype(np.uint8))


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
