"""Image files of strangers to Pillow's images: which kinds are decoded, and within what bounds."""

from __future__ import annotations

import io
import os
import stat
import struct
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import IO, Any, TypeVar

from PIL import Image, PngImagePlugin, UnidentifiedImageError

from ..errors import InputError
from ..schema import printable
from .strip import TIFF, jpeg_scans, stripped

T = TypeVar("T")

FORMATS: dict[str, tuple[str, ...]] = {
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif",),
    "JPEG2000": (".jp2", ".j2k", ".jpf", ".jpx"),
    "PSD": (".psd",),
    "TGA": (".tga",),  # last, because Pillow knows no sign of it and tries it on everything
}
"""What Pillow may decode, with the extensions by which folders are searched."""

HEIF = (".heic", ".heif", ".hif")
"""Read where pillow-heif is installed."""

RAW = (
    ".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".raf", ".orf", ".rw2", ".pef", ".srw", ".3fr",
)  # fmt: skip
OTHERS = (
    ".jxl", ".jxr", ".wdp", ".eps", ".ps", ".svg", ".ai", ".psb", ".xcf", ".kra", ".clip", ".afphoto", ".exr", ".hdr",
    ".dds", ".ico", ".icns", ".cur", ".pcx", ".qoi", ".sgi", ".wmf", ".emf",
)  # fmt: skip
SCIENTIFIC = (".dcm", ".dicom", ".nii", ".nrrd", ".mha", ".fits", ".hdf5", ".czi", ".nd2")

READABLE = (*chain(*FORMATS.values()), *(HEIF if find_spec("pillow_heif") else ()))
UNREADABLE = (*(() if set(HEIF) <= set(READABLE) else HEIF), *RAW, *OTHERS)
"""Extensions of images that are not read."""

MAX_PIXELS = 256_000_000
MAX_PIXELS_COPIED = 50_000_000
"""For the decoders in `COPYING`, which hold an image up to six times over while they work."""
COPYING = ("WEBP", "AVIF", "JPEG2000")
MAX_PIXELS_SLOW = 16_000_000
"""For Pillow's decoders in Python, which take about a second for a megapixel."""
FREE_BYTES = 256_000_000
MOST_PER_BYTE = 4000
"""Bytes of pixels that a byte of a file may hold, beyond `FREE_BYTES`. In zlib's files it is 1376 at most."""
MAX_BLOCK_BYTES = 1 << 30
MAX_SCANS = 100
MAX_TEXT_BYTES = 1 << 24
"""Of each text and profile in a PNG; larger ones are left out."""
MAX_BYTES_AT_ONCE = 1 << 30
MAX_ANIMATED_FRAMES = 100_000
ANIMATED = ("GIF", "PNG", "WEBP")
"""The kinds whose frames are those of an animation, with times."""

_SWAPPED = "B" if sys.byteorder == "little" else "L"
_LOW_BYTES = {"LA;16B": "RGBA"} | {
    f"{mode};16{order}": f"{mode};16{other}"
    for mode in ("RGB", "RGBA")
    for order, other in (("L", "B"), ("B", "L"), ("N", _SWAPPED))
}
"""How 16-bit colors lie in a file, and what a decoder takes for high bytes if it is to read the low ones."""

_ANIMATED = ("GIF", "PNG", "WEBP", "AVIF", "TIFF")
_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")


def decode(path: Path) -> Image.Image:
    """The first image of a file, its pixels in memory and as they lie there. Warn if there are more.

    Only regular files are opened, only the kinds in `FORMATS` are decoded, and nothing of a file is executed. What
    describes an image, such as EXIF, does not matter: where a decoder fails on it, the pixels are decoded without.
    Sizes are checked before memory is taken:

    - at most 256 megapixels, 50 for WebP, AVIF and JPEG 2000, and 16 for what Pillow decodes in Python (PPM as text
      or with odd levels, compressed BMP);
    - beyond 256 MB of pixels, at most 4000 bytes of them for each byte of the file;
    - strips and tiles of TIFF of at most 1 GiB, and at most 100 scans of a JPEG.

    Raise `InputError` for all else: what is missing, no image, of another kind, too large, damaged or cut off.
    """
    image, more = look_into(path, _load)
    if more:
        _warn_of_frames(path)
    return image


def decode_deep(path: Path) -> tuple[Image.Image, Image.Image | None]:
    """What `decode` returns and, for 16-bit colors, an image of the same mode with the low bytes of its levels.

    Pillow keeps the high bytes alone: modes RGB and RGBA, and LA for gray with transparency. Gray of 16 or 32 bits or
    floats is whole in the first image (modes I;16, I, and F).
    """
    (image, low), more = look_into(path, _load_deep)
    if more:
        _warn_of_frames(path)
    return image, low


def look_into(path: Path, use: Callable[[Image.Image, IO[bytes]], T]) -> T:
    """What `use` makes of the opened image, whose pixels are not decoded yet, and its file.

    Raise `InputError` as `decode` does, and where `use` fails.
    """
    name = printable(str(path))
    with open_regular(path, name) as file, _limits():
        size = os.fstat(file.fileno()).st_size
        kinds = _kinds(file.read(64), path.suffix.lower(), name)
        try:
            return _attempt(file, size, kinds, name, use)
        except InputError:
            raise
        except Exception as error:
            if isinstance(error, UnidentifiedImageError) and kinds == list(FORMATS):
                failure = InputError(f"{name} is not an image: give a PNG, JPEG, WebP, TIFF, BMP or GIF file")
                raise failure from None
            # Not `error` itself, whose frames hold the memory of the first attempt.
            failure = undecodable(name, error)
        try:
            result = _attempt(io.BytesIO(stripped(_whole(file, size))), size, kinds, name, use)
        except InputError:
            raise
        except Exception:
            raise failure from None
    warnings.warn(f"{name} has damaged metadata, which is left out", stacklevel=4)
    return result


@contextmanager
def open_frames(path: Path) -> Iterator[tuple[Image.Image, int, Callable[[int], Image.Image]]]:
    """Open an animated image: yield the image, its number of frames, and a function that decodes one of them.

    Frames are cheap to decode in their order. One is in memory at a time, and each has the size of the image: the image
    that the function returns is the same one each time. The bounds are those of `decode`, with at most
    `MAX_ANIMATED_FRAMES` frames. Raise `InputError` as `decode` does. It names the frame.
    """
    name = printable(str(path))
    with open_regular(path, name) as file:
        size = os.fstat(file.fileno()).st_size
        kinds = [
            kind for kind in _kinds(file.read(64), path.suffix.lower(), name) if kind in ANIMATED
        ] or list(ANIMATED)
        if size > MAX_BYTES_AT_ONCE:
            raise InputError(f"{name} has more than 1 GiB: save it as a video file")
        try:
            with _limits():
                image = Image.open(file, formats=kinds)
                check_size(image, name)
                _check_claims(image, file, size, name)
                count = getattr(image, "n_frames", 1)
        except InputError:
            raise
        except Exception as error:
            raise undecodable(name, error) from None
        if count > MAX_ANIMATED_FRAMES:
            raise InputError(f"{name} has {count} frames: at most {MAX_ANIMATED_FRAMES} are read")
        canvas = image.size

        def frame(number: int) -> Image.Image:
            where = f"frame {number} of {name}"
            try:
                with _limits():
                    image.seek(number)
                    # A frame of a GIF may lie beyond the canvas, which Pillow then enlarges.
                    if image.size != canvas:
                        raise InputError(f"{where} has another size than the first one: save the file again")
                    image.load()
            except InputError:
                raise
            except Exception as error:
                raise undecodable(where, error) from None
            return image

        with image:
            yield image, count, frame


def _warn_of_frames(path: Path) -> None:
    warnings.warn(f"{printable(str(path))} has several frames: the first one is used", stacklevel=4)


def check_size(image: Image.Image, name: str) -> None:
    """Raise `InputError` for an image of more pixels than are decoded."""
    limit = MAX_PIXELS
    if image.format in COPYING:
        limit = min(limit, MAX_PIXELS_COPIED)
    if any(tile[0] in Image.DECODERS for tile in getattr(image, "tile", ())):
        limit = min(limit, MAX_PIXELS_SLOW)
    if image.width * image.height > limit:
        otherwise = "" if limit == MAX_PIXELS else ", or save it as PNG or JPEG"
        raise InputError(
            f"{name} is {image.width}x{image.height} pixels: "
            f"make it smaller than {limit / 1e6:g} megapixels{otherwise}"
        )


def undecodable(name: str, error: Exception) -> InputError:
    """What is said of an image on which Pillow failed with `error`."""
    if isinstance(error, MemoryError):
        return InputError(f"{name} does not fit into the memory: make it smaller")
    if isinstance(error, Image.DecompressionBombError):
        return InputError(f"{name} is too large: make it smaller than {MAX_PIXELS / 1e6:g} megapixels")
    why = "" if isinstance(error, UnidentifiedImageError) else f" ({reason(error)})"
    return InputError(
        f"{name} is damaged or cut off, or of a kind that is not read here{why}: "
        "save or download it again, as PNG or JPEG"
    )


def reason(error: Exception) -> str:
    """The system's words for it, or Pillow's, short and on one line."""
    words = str(getattr(error, "strerror", None) or error or type(error).__name__)
    return printable(" ".join(words.split())[:200])


def open_regular(path: Path, name: str) -> IO[bytes]:
    """Open a regular file, which `name` calls in errors. Raise `InputError` for all else."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            return path.open("rb")
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        raise InputError(f"{name} cannot be opened: {reason(error)}") from None
    raise InputError(
        f"{name} cannot be opened: it is {'a folder' if stat.S_ISDIR(mode) else 'no regular file'}"
    )


@contextmanager
def _limits() -> Iterator[None]:
    """Pillow's limits as they are here, and no warnings of its own. Both are global, so this is for one thread."""
    before = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK
    # Pillow raises an error beyond twice its number, `check_size` beyond the number itself.
    Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = MAX_PIXELS, MAX_TEXT_BYTES
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = before


def _kinds(start: bytes, suffix: str, name: str) -> list[str]:
    """The formats that a file with the first bytes `start` may have: one that it shows, or all.

    Raise `InputError` for one that is not read here.
    """
    if start[4:8] == b"ftyp" and any(brand in start for brand in _HEIF_BRANDS):
        if _heif_is_there():
            return ["HEIF"]
        raise InputError(
            f"{name} is a HEIC image, a kind that is not read here: save it as PNG or JPEG, or install pillow-heif"
        )
    if suffix in RAW and start.startswith(TIFF):  # Pillow would take the thumbnail for the image
        raise InputError(f"{name} is a camera's raw file: develop it, and save it as PNG or JPEG")
    if suffix in SCIENTIFIC or name.endswith(".nii.gz"):
        raise InputError(
            f"{name} is of a kind that is not read here: save it as TIFF of floats or as 16-bit PNG, "
            "which keep its levels"
        )
    Image.init()
    shown = [kind for kind in Image.OPEN if _accepts(kind, start[:16])]
    if read := [kind for kind in shown if kind in FORMATS]:
        return read
    if suffix in FORMATS["TGA"]:  # which may begin like another kind
        return ["TGA"]
    if shown or suffix in UNREADABLE:
        raise InputError(f"{name} is of a kind that is not read here: save it as PNG or JPEG")
    return list(FORMATS)


def _accepts(kind: str, start: bytes) -> bool:
    """Whether a file of `kind` begins so; False where Pillow cannot tell."""
    accept = Image.OPEN[kind][1]
    try:
        return accept is not None and bool(accept(start))
    except (struct.error, IndexError):  # of a file shorter than it looks at
        return False


def _heif_is_there() -> bool:
    if not set(HEIF) <= set(READABLE):
        return False
    try:
        import pillow_heif

        pillow_heif.register_heif_opener()
    except (ImportError, OSError):
        return False
    return True


def _attempt(
    file: IO[bytes], size: int, kinds: list[str], name: str, use: Callable[[Image.Image, IO[bytes]], T]
) -> T:
    with Image.open(file, formats=kinds) as image:
        check_size(image, name)
        _check_claims(image, file, size, name)
        return use(image, file)


def _check_claims(image: Image.Image, file: IO[bytes], size: int, name: str) -> None:
    """Raise `InputError` for a file of `size` bytes that cannot hold its pixels, or costs far more than they do."""
    claimed = image.width * image.height * _BYTES.get(image.mode, 4)
    if claimed > FREE_BYTES and claimed > MOST_PER_BYTE * size:
        raise InputError(
            f"{name} claims {image.width}x{image.height} pixels in a file of {size} bytes: save or download it again"
        )
    if image.format == "TIFF" and _block_bytes(image) > MAX_BLOCK_BYTES:
        raise InputError(f"{name} has strips or tiles of more than 1 GiB: save it as PNG or JPEG")
    if image.format in ("JPEG", "MPO"):
        position = file.tell()
        if jpeg_scans(_whole(file, size)) > MAX_SCANS:
            raise InputError(f"{name} has more than {MAX_SCANS} scans: save it as PNG or JPEG")
        file.seek(position)


def _block_bytes(image: Image.Image) -> int:
    """Bytes of the strips or tiles that libtiff decodes one at a time; 0 where it is not used."""
    if not any(tile[0] == "libtiff" for tile in image.tile):  # type: ignore[attr-defined]
        return 0
    tags = image.tag_v2  # type: ignore[attr-defined]
    width = tags.get(322, tags[256])
    height = tags.get(323, min(tags.get(278, tags[257]), tags[257]))
    return width * height * tags.get(277, 1) * max(tags.get(258, (1,))) // 8


def _load(image: Image.Image, file: IO[bytes]) -> tuple[Image.Image, bool]:
    """The image with its pixels, and whether the file has more than this one."""
    image.load()
    return image, image.format in _ANIMATED and _several(file, image.format)


def _load_deep(image: Image.Image, file: IO[bytes]) -> tuple[tuple[Image.Image, Image.Image | None], bool]:
    found = {_raw_mode(tile) for tile in image.tile}  # type: ignore[attr-defined]
    loaded, more = _load(image, file)
    raw = found.pop() if len(found) == 1 else ""
    if raw not in _LOW_BYTES:
        return (loaded, None), more
    with Image.open(file, formats=[image.format]) as again:  # type: ignore[list-item]
        again.tile = [_with_raw_mode(tile, _LOW_BYTES[raw]) for tile in again.tile]
        again.load()
        if raw != "LA;16B":
            return (loaded, again.copy()), more
        # Pillow gives LA as RGBA. Read as RGBA of 8 bits, it has the bytes of gray and of transparency in turn.
        merged = Image.merge("LA", (loaded.getchannel("R"), loaded.getchannel("A")))
        merged.info = loaded.info
        return (merged, Image.merge("LA", (again.getchannel("G"), again.getchannel("A")))), more


def _raw_mode(tile: Any) -> str:
    """The first argument of a decoder: how pixels lie in the file."""
    return tile[3] if isinstance(tile[3], str) else str(tile[3][0]) if tile[3] else ""


def _with_raw_mode(tile: Any, raw: str) -> Any:
    arguments = raw if isinstance(tile[3], str) else (raw, *tile[3][1:])
    return tile[:3] + (arguments,) if type(tile) is tuple else tile._replace(args=arguments)


def _several(file: IO[bytes], kind: str) -> bool:
    """Looked up in a second image: to find another frame, Pillow leaves the first."""
    try:
        with Image.open(file, formats=[kind]) as image:
            return bool(getattr(image, "is_animated", False))
    except Exception:
        return True


def _whole(file: IO[bytes], size: int) -> bytes:
    if size > MAX_BYTES_AT_ONCE:
        raise ValueError("the file is too large")
    file.seek(0)
    return file.read(size)
