"""DICOM files: their pixels as levels, upright in the sense of the model, and the window that they name."""

from __future__ import annotations

import warnings
import zlib
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from ...errors import InputError
from ...schema import printable
from ..decode import MAX_PIXELS, MAX_PIXELS_COPIED, reason
from ..deep import DeepPicture
from ..window import Window, WindowChoice, window_of
from .cut import Cut
from .kinds import SUFFIXES, library, suffix_of
from .scale import Scale
from .stack import Stack

_DEFLATED = "1.2.840.10008.1.2.1.99"
_JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
_MAX_INFLATED = 256_000_000
_FREE_BYTES = 256_000_000
_MOST_PER_BYTE = 4000
"""Bytes of pixels that a byte of compressed data may hold, beyond `_FREE_BYTES`."""
_GRAY = ("MONOCHROME1", "MONOCHROME2")
_COLORS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT", "YBR_PARTIAL_420", "PALETTE COLOR")
_SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_FLOATS: dict[int | None, type] = {0x7FE00008: np.float32, 0x7FE00009: np.float64}
_EXPLICIT = 8
"""Bytes between the tag of pixels and their value, in the encoding that compressed files have."""
_J2K_SIZE = b"\xff\x4f\xff\x51"
"""Start of a codestream and of the segment with its size."""


class DicomFrames(Stack):
    """The frames of a DICOM file, for reading. `DicomStack` writes too.

    Levels are the file's units (rescale slope and intercept, or modality LUT). Pixels of 1 bit are 0 and 255.
    `inverted` is MONOCHROME1, whose lowest level is white. Raise `InputError` for a file without pixels, for a
    compression whose plugin is missing, for a header that claims more than the file holds, and for anything else that
    cannot be read.
    """

    noun = "frame"

    def __init__(self, path: Path, choice: WindowChoice, cut: Cut = Cut()) -> None:  # noqa: B008
        self.path, self.cut = path, cut
        if cut.volume is not None or cut.plane is not None:
            raise InputError(f"{self.name} is a DICOM file: leave out --volume and --axis")
        self._pydicom = library("DICOM")
        with self.quiet("is damaged, or no DICOM file"):
            self.header, self._bytes = _read(self._pydicom, path, self.name)
        with self.quiet("has a header that cannot be read", "pydicom"):
            self._check()
            self.numbers = cut.of(self.frames, self.name, self.noun)
            self.inverted = self.photometric == "MONOCHROME1"
            self.window = self._window(choice)

    def picture(self, index: int) -> Image.Image | DeepPicture:
        pixels = self._frame(self.numbers[index])
        if self.window is None:
            return Image.fromarray(pixels)
        return DeepPicture(pixels, self.window, inverted=self.inverted)

    @cached_property
    def photometric(self) -> str:
        return str(self.header.get("PhotometricInterpretation", ""))

    @cached_property
    def is_color(self) -> bool:
        return self.photometric not in _GRAY

    @cached_property
    def frames(self) -> int:
        return max(1, self._whole("NumberOfFrames", 1))

    @cached_property
    def packed(self) -> bool:
        """Whether the file has pixels of 1 bit."""
        return self._whole("BitsAllocated", 16) == 1

    @cached_property
    def bits(self) -> int:
        """Bits of a stored number that are used."""
        if self.packed:
            return 8
        return self._whole("BitsStored", self._whole("BitsAllocated", 16))

    @cached_property
    def kind(self) -> np.dtype:
        """The type of stored numbers."""
        if self._pixel_tag in _FLOATS:
            return np.dtype(_FLOATS[self._pixel_tag])
        if self.packed:
            return np.dtype(np.uint8)
        signed = self._whole("PixelRepresentation", 0) == 1
        return np.dtype(f"{'i' if signed else 'u'}{self._whole('BitsAllocated', 16) // 8}")

    @property
    def is_mask(self) -> bool:
        return str(self.header.get("SOPClassUID", "")) in _SEGMENTATIONS

    def scale(self, frame: int) -> Scale:
        """Return the scale of a frame: that of its functional groups, or that of the file."""
        if "ModalityLUTSequence" in self.header:
            return Scale.of(np.dtype(np.uint16))
        values = self.group(frame, "PixelValueTransformationSequence") or self.header
        slope, intercept = _number(values, "RescaleSlope", 1.0), _number(values, "RescaleIntercept", 0.0)
        if slope == 0 or not np.isfinite((slope, intercept)).all():
            raise InputError(f"{self.name} has a rescale slope of {slope:g}: its levels cannot be told")
        if self.kind.kind == "f":
            return Scale.of(self.kind, slope, intercept)
        span = 1 << self.bits
        low = -span // 2 if self.kind.kind == "i" else 0
        return Scale(self.kind, low, low + span - 1, slope, intercept)

    def group(self, frame: int, name: str) -> Any | None:
        """Return the item of a functional group of a frame, its own or that of all frames; None if there is none."""
        for sequence, number in (
            ("PerFrameFunctionalGroupsSequence", frame),
            ("SharedFunctionalGroupsSequence", 0),
        ):
            items = self.header.get(sequence) or ()
            if number < len(items) and (found := items[number].get(name)):
                return found[0]
        return None

    def _check(self) -> None:
        """Raise `InputError` unless the header describes pixels that can be read and fit into the file."""
        what = f"{self.name} has"
        rows, columns = self._whole("Rows", 0), self._whole("Columns", 0)
        self.size = rows, columns
        if self._pixel_tag is None or rows < 1 or columns < 1:
            kind = getattr(self.header.get("SOPClassUID"), "name", "")
            named = f" ({printable(kind[:60])})" if kind else ""
            raise InputError(f"{self.name} is a DICOM file without pixels{named}: give one with an image")
        if self.photometric not in (*_GRAY, *_COLORS):
            raise InputError(
                f"{what} colors of the kind {printable(self.photometric[:40]) or 'unknown'}: they are not read"
            )
        allocated, samples = self._whole("BitsAllocated", 16), self._whole("SamplesPerPixel", 1)
        if allocated not in (1, 8, 16, 32, 64) or not (self.packed or 1 <= self.bits <= allocated):
            raise InputError(f"{what} pixels of {allocated} bits, which are not read")
        if self.packed and self.is_color:
            raise InputError(f"{what} colors of 1 bit, which are not read")
        if samples != (3 if self.is_color and self.photometric != "PALETTE COLOR" else 1):
            raise InputError(f"{what} {samples} samples a pixel, which do not fit its colors: save it again")
        syntax, stored = self._syntax, self.path.stat().st_size
        limit = MAX_PIXELS_COPIED if syntax.is_compressed else MAX_PIXELS
        if rows * columns > limit:
            raise InputError(
                f"{what} {columns}x{rows} pixels: make it smaller than {limit / 1e6:g} megapixels"
            )
        bits = rows * columns * samples * allocated
        if self.photometric == "YBR_FULL_422":
            bits = bits * 2 // 3
        if not syntax.is_compressed or self._bytes is not None:
            there = len(self._bytes.get(self._pixel_tag).value) if self._bytes is not None else stored
            held = 8 * there // bits
        else:
            held = stored // 8 if bits <= 8 * max(_FREE_BYTES, _MOST_PER_BYTE * stored) else 0
        if self.frames > held:
            some = "" if self.frames == 1 else f" in {self.frames} frames"
            raise InputError(
                f"{what} a header that claims {columns}x{rows} pixels{some}, more than the file holds: "
                "it is cut off, so get it again"
            )
        self._check_plugin(syntax)

    def _check_plugin(self, syntax: Any) -> None:
        """Raise `InputError` that names what reads a compression, if nothing here does."""
        try:
            decoder = library("DICOM", "pixels").get_decoder(syntax)
        except NotImplementedError:
            raise InputError(
                f"{self.name} is compressed as {printable(syntax.name[:90])}, which is not read: "
                "save it without compression (dcmtk's dcmdjpeg, or gdcmconv --raw)"
            ) from None
        lacking = decoder.missing_dependencies
        if syntax == _JPEG_EXTENDED and self.bits > 8:  # neither Pillow nor GDCM reads 12 bits
            needed = {"pylibjpeg-libjpeg": "libjpeg"}
            if not any("libjpeg" in line for line in lacking):
                return
        elif decoder.is_available:
            return
        else:
            needed = {"python-gdcm": "gdcm", "pyjpegls": "pyjpegls", "pylibjpeg-libjpeg": "libjpeg"}
        plugins = [
            package for package, name in needed.items() if any(name in line for line in lacking)
        ] or list(needed)
        raise InputError(
            f"{self.name} is compressed as {printable(syntax.name[:90])}: run pip install {' or '.join(plugins)}"
            + (" (the last is under the GPL)" if plugins[-1] == "pylibjpeg-libjpeg" else "")
        )

    @cached_property
    def _syntax(self) -> Any:
        """The transfer syntax: how the file is encoded."""
        uid = library("DICOM", "uid")
        if found := getattr(self.header, "file_meta", {}).get("TransferSyntaxUID"):
            return found
        implicit, little = self.header.original_encoding
        if not little:
            return uid.ExplicitVRBigEndian
        return uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian

    @cached_property
    def _pixel_tag(self) -> int | None:
        if self._bytes is not None:
            tags = [library("DICOM", "datadict").tag_for_keyword(keyword) for keyword in _PIXELS]
            return next((tag for tag in tags if tag in self._bytes), None)
        return self.header.pixel_tag

    def _window(self, choice: WindowChoice) -> Window | None:
        frame = self.numbers[0]
        if self.is_color:
            pixels = self._frame(frame)
            if pixels.dtype != np.uint8:
                return window_of(pixels, choice, self.name)
            if isinstance(choice, Window):
                raise InputError(f"{self.name} has colors of 8 bits: the window {choice} is for gray levels")
            return None
        full, own = self.scale(frame).limits, self._own_window(frame)
        if own is None and choice == "auto" and self.bits <= 8 and "ModalityLUTSequence" not in self.header:
            own = full
        return self._choose(choice, own, full, lambda index: self._without_padding(self.numbers[index]))

    def _own_window(self, frame: int) -> Window | None:
        """The first window of the file (PS3.3 C.11.2.1.2), or that of its VOI LUT; None if none can be used."""
        values = self.group(frame, "FrameVOILUTSequence") or self.header
        center, width = _number(values, "WindowCenter", np.nan), _number(values, "WindowWidth", np.nan)
        exact = str(values.get("VOILUTFunction", "LINEAR")) == "LINEAR_EXACT"
        half = width / 2 if exact else (width - 1) / 2
        middle = center if exact else center - 0.5
        if not np.isfinite((middle, half)).all():
            return self._window_of_lut(values, frame)
        if half <= 0:
            warnings.warn(f"{self.name} names a window of width {width:g}, which is left out", stacklevel=5)
            return None
        return Window(middle - half, middle + half)

    def _window_of_lut(self, values: Any, frame: int) -> Window | None:
        """The levels between which a VOI LUT (PS3.3 C.11.2.1.1) rises from black to white; None if none can be used."""
        if not values.get("VOILUTSequence"):
            return None
        try:
            first, table = _table(values.VOILUTSequence[0], self.header.original_encoding[1] is not False)
        except Exception:  # of pydicom or numpy, on values of a stranger
            first, table = 0, np.zeros(1)
        # Without a VR, nobody knows whether the first level has a sign.
        limits = self.scale(frame).limits
        if limits.low < 0 and first > limits.high:
            first -= 1 << 16
        window = _rise(first, table)
        if window is None:
            warnings.warn(f"{self.name} has a VOI LUT that does not rise, which is left out", stacklevel=6)
        return window

    def _without_padding(self, frame: int) -> np.ndarray:
        """The levels of a frame that are not padding, such as what is outside the circle of a CT."""
        stored = self._stored(frame)
        levels = self._levels(stored, frame)
        first = _number(self.header, "PixelPaddingValue", np.nan)
        if not np.isfinite(first):
            return levels
        last = _number(self.header, "PixelPaddingRangeLimit", first)
        return levels[(stored < min(first, last)) | (stored > max(first, last))]

    def _frame(self, frame: int) -> np.ndarray:
        """Levels [H, W], or colors [H, W, 3] of 8 or 16 bits."""
        stored = self._stored(frame)
        return stored if self.is_color else self._levels(stored, frame)

    def _levels(self, stored: np.ndarray, frame: int) -> np.ndarray:
        if "ModalityLUTSequence" in self.header:
            with self.quiet("has a modality LUT that cannot be used"):
                return library("DICOM", "pixels").apply_modality_lut(stored, self.header).astype(np.uint16)
        return self.scale(frame).levels(stored)

    def _stored(self, frame: int) -> np.ndarray:
        """Decode a frame: stored numbers [H, W], or RGB [H, W, 3]."""
        pixels = library("DICOM", "pixels")
        with self.quiet("has pixels that cannot be decoded"):
            source: Any = self._bytes if self._bytes is not None else self.path
            options = {} if self._bytes is not None else {"transfer_syntax_uid": self._syntax}
            if "JPEG 2000" in self._syntax.name:
                self._check_codestream(frame)
            found = pixels.pixel_array(source, index=frame, **options)
            if self.photometric == "PALETTE COLOR":
                found = pixels.apply_color_lut(found, self.header)[..., :3]
                # Tables of 16 bits hold colors of 8 bits, in the high byte as a rule.
                found = (found >> 8 if found.max() > 255 else found).astype(np.uint8)
        if self.packed:
            found = found * np.uint8(255)
        if found.shape != (*self.size, 3)[: 3 if self.is_color else 2]:
            raise InputError(f"{self.name} has pixels of another size than its header says: get it again")
        return found

    def _check_codestream(self, frame: int) -> None:
        """Raise `InputError` for JPEG 2000 whose own size is another: a decoder would take the memory for it."""
        with self.path.open("rb") as file:
            file.seek(self.header.pixels_at)
            data = library("DICOM", "encaps").get_frame(file, frame, number_of_frames=self.frames)
        start = data.find(_J2K_SIZE)
        right, bottom, left, top = (
            int.from_bytes(data[start + at : start + at + 4], "big") for at in (8, 12, 16, 20)
        )
        if start < 0 or (bottom - top, right - left) != self.size:
            raise InputError(f"{self.name} has pixels of another size than its header says: get it again")

    def _whole(self, keyword: str, otherwise: int) -> int:
        return int(_number(self.header, keyword, otherwise))

    def quiet(self, trouble: str, module: str = "") -> _Quiet:
        """Say `trouble` in one line if the library fails in the block, and keep warnings of a `module` (all) back."""
        return _Quiet(self.name, trouble, module)


class _Quiet:
    """Turn errors of a library on bytes of a stranger into one line, and keep the warnings of a `module` back."""

    def __init__(self, name: str, trouble: str, module: str) -> None:
        self._name, self._trouble, self._module = name, trouble, module
        self._warnings = warnings.catch_warnings()

    def __enter__(self) -> None:
        self._warnings.__enter__()
        warnings.filterwarnings("ignore", module=self._module)

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        self._warnings.__exit__(kind, error, traceback)
        if isinstance(error, InputError) or not isinstance(error, Exception):
            return
        if isinstance(error, MemoryError):
            raise InputError(f"{self._name} does not fit into the memory: make it smaller") from None
        raise InputError(f"{self._name} {self._trouble} ({reason(error)})") from None


def _read(pydicom: Any, path: Path, name: str) -> tuple[Any, Any | None]:
    """The header, with the attribute `pixel_tag`, and all of a deflated file; None for another, whose pixels stay."""
    try:
        if not path.is_file():
            raise InputError(f"{name} cannot be opened: it is {'a folder' if path.is_dir() else 'no file'}")
        with path.open("rb") as file:
            syntax = _syntax_of(pydicom, file)
            if syntax == _DEFLATED:
                _check_inflated(file, name)
                whole = pydicom.dcmread(path)
                return whole, whole
            file.seek(0)
            header = pydicom.dcmread(
                file, stop_before_pixels=True, force=suffix_of(path) in SUFFIXES["DICOM"]
            )
            header.pixel_tag = _tag_at(file, header)
            header.pixels_at = file.tell() + _EXPLICIT
    except OSError as error:
        raise InputError(f"{name} cannot be opened: {reason(error)}") from None
    if len(header) == 0 and not getattr(header, "file_meta", None):
        raise InputError(f"{name} is no DICOM file: give another")
    return header, None


def _syntax_of(pydicom: Any, file: Any) -> str | None:
    """The transfer syntax that the file names."""
    try:
        pydicom.filereader.read_preamble(file, True)
        return pydicom.filereader._read_file_meta_info(file).get("TransferSyntaxUID")
    except Exception:
        return None


def _check_inflated(file: Any, name: str) -> None:
    """Raise `InputError` for a deflated file that would fill the memory. `file` is behind its file meta information."""
    inflater, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
    while data := inflater.unconsumed_tail or file.read(1 << 20):
        total += len(inflater.decompress(data, 1 << 24))
        if total > _MAX_INFLATED:
            raise InputError(
                f"{name} is deflated and has more than {_MAX_INFLATED // 10**6} MB: inflate it first"
            )
        if inflater.eof:
            return


def _tag_at(file: Any, header: Any) -> int | None:
    """The tag at which the header ends, if it is one of pixels."""
    order: Literal["little", "big"] = "little" if header.original_encoding[1] is not False else "big"
    found = file.read(4)
    if len(found) < 4:
        return None
    tag = int.from_bytes(found[:2], order) << 16 | int.from_bytes(found[2:], order)
    return tag if tag in (0x7FE00008, 0x7FE00009, 0x7FE00010) else None


def _table(lut: Any, little: bool) -> tuple[int, np.ndarray]:
    """The first level of an item with a lookup table, and the table."""
    count, first, _ = (int(value) for value in lut.LUTDescriptor)
    count = count or 1 << 16
    data = lut.LUTData
    if isinstance(data, bytes):
        width = 1 if len(data) < 2 * count else 2
        data = np.frombuffer(data, f"{'<' if little else '>'}u{width}")
    table = np.asarray(data, np.float64)[:count]
    return first, table if len(table) == count else table[:0]


def _rise(first: int, table: np.ndarray) -> Window | None:
    """The levels from which on and up to which a table rises. A curve is taken for the straight line through it.

    This is the line through the points where 1 and 99 percent of the rise are reached.
    """
    if len(table) < 2 or not table[-1] > table[0]:
        return None
    share = np.maximum.accumulate(table - table[0]) / (table.max() - table[0])
    low, high = float(np.flatnonzero(share <= 0.01)[-1]), float(np.argmax(share >= 0.99))
    beyond = (high - low) / 98
    low, high = max(low - beyond, 0.0), min(high + beyond, len(table) - 1.0)
    return Window(first + low, first + high) if low < high else None


def _number(values: Any, keyword: str, otherwise: float) -> float:
    """The first number of an element, which a stranger has written; `otherwise` where there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = values.get(keyword)
            if found is None:
                return otherwise
            return float(found if isinstance(found, int | float | str) else found[0])
        except Exception:  # of pydicom, for a value that is none
            return otherwise
