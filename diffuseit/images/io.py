"""Images between files and tensors, as a person expects to see them: the only place where the core does this."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageCms

from ..errors import InputError
from ..files.atomic import atomic_path
from ..schema import printable
from . import exr, marks
from .decode import READABLE as DECODED
from .decode import UNREADABLE, check_size, decode, decode_deep, look_into, reason, undecodable
from .deep import TIFF_SUFFIXES, DeepPicture
from .exr_picture import read_exr_picture
from .medical.files import read_slice, settings_in
from .medical.kinds import kind_of
from .metadata import KEY, file_options, orientation, text_of
from .window import Window, WindowChoice, window_of

if TYPE_CHECKING:
    from torch import Tensor

READABLE = (*DECODED, *(exr.SUFFIXES if exr.is_there() else ()))
"""Extensions of images that are read."""

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
_TURNS = {  # EXIF's orientation, and how such an image is turned upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_ITS_SIDE = tuple(_TURNS[value] for value in (5, 6, 7, 8))
_ROWS = 256
_DARK = 8
"""Levels below this part of their range look black."""


@dataclass(frozen=True)
class Picture:
    """An image as its file has it: sRGB colors, and its transparency (mode L) where it is not opaque."""

    rgb: Image.Image
    alpha: Image.Image | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.rgb.height, self.rgb.width

    def over(self, background: str = "white") -> Image.Image:
        """RGB as it looks on a background."""
        if self.alpha is None:
            return self.rgb
        return Image.composite(self.rgb, Image.new("RGB", self.rgb.size, background), self.alpha)

    def tensor(self, background: str | None = None) -> Tensor:
        """Return [1, 3, H, W] in [-1, 1], on a background if one is given."""
        return to_tensor(self.rgb if background is None else self.over(background))


def load_picture(source: str | os.PathLike[str] | Image.Image) -> Image.Image:
    """The image as RGB on white; see `read_picture`."""
    return read_picture(source).over("white")


def read_picture(source: str | os.PathLike[str] | Image.Image) -> Picture:
    """The image upright (EXIF's orientation), in sRGB (its color profile applied), 16 bits scaled to 8.

    Warn of frames after the first, and of a color profile that cannot be used. Raise `InputError` as
    `decode.decode` does, and for gray levels of no known range.
    """
    if isinstance(source, Image.Image):
        return _shown(_loaded(source, "The image"), "The image")
    if kind_of(Path(source)) is not None or exr.is_exr(Path(source)):
        picture = read_levels(source, "auto")
        return Picture(picture.over()) if isinstance(picture, DeepPicture) else picture
    return _shown(decode(Path(source)), printable(os.fspath(source)))


def read_source(path: str | os.PathLike[str], choice: WindowChoice) -> Picture | DeepPicture:
    """What `read_levels` returns. Raise `InputError` for a window (not "auto" or "full") of an image of 8 bits."""
    picture = read_levels(path, choice)
    if isinstance(choice, Window) and isinstance(picture, Picture):
        name = printable(os.fspath(path))
        raise InputError(
            f"{name} has 8 bits a channel: the window {choice} is for pictures of 16 bits or of floats"
        )
    return picture


def read_levels(path: str | os.PathLike[str], choice: WindowChoice) -> Picture | DeepPicture:
    """The image with all its levels, upright. Warn of the window that "auto" and "full" are, and of further frames.

    An image of 8 bits is as `read_picture` returns it. So are 16-bit colors with a color profile, which can be applied
    at 8 bits only, unless `choice` is a window or "full". The profile of a gray image of more bits is left out. Raise
    `InputError` as `read_picture` does, and for a window that does not fit the levels (`window_of`).

    Of a DICOM file this is the first frame, of a NIfTI file the middle slice. For OpenEXR see `read_exr_picture`.
    """
    if exr.is_exr(Path(path)):
        return read_exr_picture(Path(path), choice)
    if kind_of(Path(path)) is not None:
        found = read_slice(Path(path), choice)
        return found if isinstance(found, DeepPicture) else Picture(found)
    name = printable(os.fspath(path))
    image, low = decode_deep(Path(path))
    deep = low is not None or image.mode.startswith("I") or image.mode == "F"
    if not deep:
        return _shown(image, name)
    if choice == "auto" and image.mode in ("RGB", "RGBA") and image.info.get("icc_profile"):
        warnings.warn(
            f"{name} has a color profile, which is applied at 8 bits: --window full keeps its 16 bits, without it",
            stacklevel=2,
        )
        return _shown(image, name)
    levels, alpha = _levels(image, low)
    window = window_of(levels, choice, name)
    if not isinstance(choice, Window):
        span = f"{levels.min():g} to {levels.max():g}"
        warnings.warn(f"{name} has levels {span}: {window} become black to white", stacklevel=2)
    return DeepPicture(levels, window, alpha)


def check_readable(path: Path) -> None:
    """Raise `InputError` unless the file is an image that may be read. Its pixels are not decoded.

    Medical files are checked when they are opened.
    """
    if kind_of(path) is not None:
        return
    if exr.is_exr(path):
        exr.exr_size(path)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        look_into(path, lambda image, _: None)


def read_size(path: Path) -> tuple[int, int]:
    """Return height and width of an image upright. Its pixels are not decoded. Raise `InputError` as `read_picture`."""
    if exr.is_exr(path):
        return exr.exr_size(path)

    def size_of(image: Image.Image, _: object) -> tuple[int, int]:
        return image.size if _TURNS.get(orientation(image)) in _ON_ITS_SIDE else image.size[::-1]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return look_into(path, size_of)


def read_text(path: Path) -> str | None:
    """The text that `save_picture` put into the file's metadata; None where there is none."""
    if kind_of(path) is not None:
        return settings_in(path)
    if exr.is_exr(path):
        text = exr.exr_attributes(path).get(KEY)
        return text if isinstance(text, str) else None
    return look_into(path, lambda image, _: text_of(image))


def read_mark(path: Path) -> str | None:
    """The term of IPTC's DigitalSourceType in the file's XMP; None where there is none."""
    if kind_of(path) is not None:
        return None
    if exr.is_exr(path):
        return marks.mark_of(exr.exr_attributes(path).get(marks.EXR_ATTRIBUTE))
    return look_into(path, lambda image, _: marks.mark_in(image))


def unread_kinds(folder: Path) -> dict[str, int]:
    """How many files of `folder` are images of a kind that is not read here, by extension in lower case."""
    suffixes = (
        path.suffix.lower() for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")
    )
    unread = set(UNREADABLE) - set(READABLE)
    return dict(sorted(Counter(suffix for suffix in suffixes if suffix in unread).items()))


def to_tensor(image: Image.Image) -> Tensor:
    """RGB to [1, 3, H, W] in [-1, 1]."""
    return level_tensor(image.convert("RGB")).mul_(2).sub_(1)


def level_tensor(image: Image.Image) -> Tensor:
    """Mode L (masks, alpha) or RGB to [1, C, H, W] in [0, 1]."""
    import torch  # here, so that a bad image is refused before the seconds that torch takes

    pixels = torch.from_numpy(np.array(image)).reshape(image.height, image.width, -1)
    return pixels.permute(2, 0, 1)[None].float().div_(255)


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


def check_writable(path: Path, suffixes: Iterable[str] = OPTIONS) -> None:
    """Raise `InputError` where `save_picture` would, or another writer of `suffixes`: call it before the heavy work."""
    if not path.name.lower().endswith(tuple(suffixes)):
        raise InputError(f"{path} has no image extension: end it in one of {', '.join(suffixes)}")
    check_writable_folder(path.parent)
    try:
        _try_names(path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {reason(error)}; give another name with -o") from None
    if path.is_dir():
        raise InputError(f"{path} is a folder: give the name of an image file")


def check_writable_folder(folder: Path) -> None:
    """Raise `InputError` unless files can be written in `folder`, or in a folder made there."""
    try:
        _try_names(folder)
        with tempfile.TemporaryFile(dir=_existing(folder)):
            pass
    except OSError as error:
        raise InputError(f"Cannot write in {folder}: {reason(error)}; give another place with -o") from None


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
    image: Image.Image | DeepPicture,
    path: str | os.PathLike[str],
    text: str | None = None,
    *,
    mark: marks.SourceType | None = None,
    graph: Mapping[str, str] | None = None,
    finish: Callable[[Path, str], None] | None = None,
    overwrite: bool = True,
) -> None:
    """Write the image whole or not at all, and make the folders above it. The extension says the format.

    PNG, TIFF, and OpenEXR files hold the levels of a picture of more than 8 bits (`DeepPicture.save`), others its
    window. OpenEXR files are for these pictures alone.

    `text` (ASCII) or `graph`, and `mark` go into the file's metadata where the format can hold them (`file_options`).
    Transparency is kept where the format has it, else the image is laid on white. `finish` gets the finished file and
    the extension (lower case), before the file gets its name. Raise `InputError` if the file cannot be written, and
    `FileExistsError` if `overwrite` is false and it exists.
    """
    path = Path(path)
    check_writable(path, (*OPTIONS, *exr.SUFFIXES) if isinstance(image, DeepPicture) else OPTIONS)
    kind = path.suffix.lower()
    deep = kind == ".png" or kind in (*TIFF_SUFFIXES, *exr.SUFFIXES)
    if isinstance(image, DeepPicture) and not deep:
        image = image.shown()
    if isinstance(image, Image.Image) and image.has_transparency_data and kind in OPAQUE:
        image = Picture(image.convert("RGB"), image.getchannel("A")).over("white")
    options = OPTIONS.get(kind, {}) | file_options(
        kind, text, None if mark is None else marks.xmp(mark), graph
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {reason(error)}") from None
    try:
        with atomic_path(path, overwrite=overwrite) as temporary:
            if isinstance(image, DeepPicture):
                image.save(temporary, kind, options)
            else:
                image.save(temporary, format=Image.registered_extensions()[kind], **options)
            if finish is not None:
                finish(temporary, kind)
    except (OSError, ValueError) as error:
        if isinstance(error, FileExistsError) and not overwrite:
            raise
        raise InputError(f"{path} cannot be written: {reason(error)}") from None


def _loaded(image: Image.Image, name: str) -> Image.Image:
    check_size(image, name)
    try:
        image.load()
    except Exception as error:
        raise undecodable(name, error) from None
    return image


def _shown(image: Image.Image, name: str) -> Picture:
    """The image as it is to be seen. Holds no more than two copies of it at a time."""
    profile = image.info.get("icc_profile")
    turn = _TURNS.get(orientation(image))
    if turn is not None:
        image = image.transpose(turn)
    image, alpha = _split(image, name)
    rgb = _srgb(image, profile, name)
    rgb.info.clear()
    return Picture(rgb, alpha)


def _levels(image: Image.Image, low: Image.Image | None) -> tuple[np.ndarray, Image.Image | None]:
    """Levels [H, W] or [H, W, 3] upright, and transparency (L), of what `decode_deep` gives."""
    turn = _TURNS.get(orientation(image))
    clear = image.info.get("transparency")
    kind = _type_of_integers(image) if image.mode == "I" else None
    if turn is not None:
        image, low = image.transpose(turn), None if low is None else low.transpose(turn)
    if low is None:
        levels = np.asarray(image)
        levels = levels.astype(kind or levels.dtype.newbyteorder("="))
    else:
        levels = np.asarray(image).astype(np.uint16)
        levels <<= 8
        levels |= np.asarray(low)
    alpha = None
    if low is not None and image.mode in ("LA", "RGBA"):
        alpha = image.getchannel("A")
        levels = levels[..., 0] if image.mode == "LA" else levels[..., :3]
    elif clear is not None:
        same = levels == np.asarray(clear)
        alpha = Image.fromarray(np.where(same if levels.ndim == 2 else same.all(2), 0, 255).astype(np.uint8))
    return levels, None if alpha is None or alpha.getextrema() == (255, 255) else alpha


def _type_of_integers(image: Image.Image) -> type[np.generic]:
    """The type of levels in a file that Pillow gives as 32 signed bits."""
    tags = getattr(image, "tag_v2", None)
    if tags is None:  # PNM of more than 8 bits
        return np.uint16
    signed = tags.get(339, (1,))[0] == 2
    if tags.get(258, (1,))[0] == 16:
        return np.int16 if signed else np.uint16
    return np.int32 if signed else np.uint32


def _split(image: Image.Image, name: str) -> tuple[Image.Image, Image.Image | None]:
    """Colors (modes L, RGB, CMYK, LAB) and transparency (L), None where the image is opaque."""
    if image.mode.startswith("I") or image.mode == "F":
        return _eight_bits(image, name)
    alpha = None
    if image.has_transparency_data:
        image = _as(image, "LA" if image.mode in ("1", "L", "LA", "La") else "RGBA")
        alpha = image.getchannel("A")
        alpha = None if alpha.getextrema() == (255, 255) else alpha
    if image.mode in ("1", "LA", "La"):
        return image.convert("L"), alpha
    return image if image.mode in ("L", "CMYK", "LAB") else _as(image, "RGB"), alpha


def _as(image: Image.Image, mode: str) -> Image.Image:
    """The image in another mode; itself where it has that."""
    return image if image.mode == mode else image.convert(mode)


def _srgb(image: Image.Image, profile: object, name: str) -> Image.Image:
    """Colors of `profile` (without one: sRGB, or Pillow's plain CMYK) as sRGB."""
    if profile:
        try:
            return _convert(image, ImageCms.ImageCmsProfile(io.BytesIO(profile)))  # type: ignore[arg-type]
        except Exception:  # of Pillow or of LittleCMS, on bytes of a stranger
            warnings.warn(
                f"{name} has a color profile that cannot be used: its colors may be off", stacklevel=5
            )
    if image.mode == "LAB":
        return _convert(image, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")))
    return image.convert("RGB")


def _convert(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    if image.mode == "L" and profile.profile.xcolor_space.strip() == "RGB":
        image = image.convert("RGB")
    converted = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    assert converted is not None  # it is None in place only
    return converted


def _eight_bits(image: Image.Image, name: str) -> tuple[Image.Image, Image.Image | None]:
    """Gray of 16 bits (0..65535) or floats (0..1); Pillow itself would clip both."""
    values = np.asarray(image)
    top = 1 if image.mode == "F" else 65535
    if not (values.min() >= 0 and values.max() <= top):
        raise InputError(f"{name} has values outside 0..{top}: save it with 8 bits per channel")
    if 0 < values.max() < top / _DARK:
        warnings.warn(
            f"{name} has levels up to {values.max():g} of {top} and looks nearly black here", stacklevel=5
        )
    levels = np.empty(values.shape, np.uint8)
    for row in range(0, len(values), _ROWS):
        levels[row : row + _ROWS] = np.rint(values[row : row + _ROWS].astype(np.float64) * (255 / top))
    clear = image.info.get("transparency")
    alpha = None if clear is None else Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8))
    return Image.fromarray(levels), alpha
