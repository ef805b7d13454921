"""NIfTI volumes: slices along an anatomical axis, and results with the affine and the header of the source.

Slices are turned so that columns run to the left or the back, and rows to the back or down (patient's left, posterior,
inferior), as viewers show them.
"""

from __future__ import annotations

import gzip
import io
import shutil
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError
from ..decode import MAX_PIXELS, reason
from ..deep import DeepPicture
from ..window import Window, WindowChoice
from .cut import PLANES, Cut
from .grid import Grid
from .kinds import library, suffix_of
from .scale import Scale
from .stack import SYNTHETIC, About, Stack

_HEADERS = {348: "Nifti1Header", 540: "Nifti2Header"}
_MOST_PER_BYTE = 1100
"""Bytes that deflate makes of one, at most."""
_LARGEST_OFFSET = 1 << 24
_CHUNK = 1 << 20
_COMMENT = 6
"""The code of an extension that is text."""
_KINDS = ("i", "u", "f")
_ANISOTROPIC = 1.5
_SAME_PLACE = 1e-3
"""Differences of affines that come from rounding, in mm."""
_DEFLATE_LEVEL = 6


@dataclass(frozen=True)
class _View:
    """The axes of an array [i, j, k] that are rows, columns, and slices, and whether rows and columns are turned."""

    rows: int
    columns: int
    slices: int
    turn_rows: bool
    turn_columns: bool

    @classmethod
    def of(cls, plane: str, affine: np.ndarray, nibabel: Any) -> _View:
        orientation = nibabel.orientations.io_orientation(affine)
        if not np.isfinite(orientation).all():
            raise ValueError("its affine has no three directions")
        axis_of = {int(world): axis for axis, (world, _) in enumerate(orientation)}
        sign = {axis: flip for axis, (_, flip) in enumerate(orientation)}
        across = {"sagittal": 0, "coronal": 1, "axial": 2}[plane]
        columns, rows = (world for world in range(3) if world != across)
        return cls(
            axis_of[rows],
            axis_of[columns],
            axis_of[across],
            sign[axis_of[rows]] > 0,  # the world's axes run to the right, the front, and up
            sign[axis_of[columns]] > 0,
        )

    def show(self, slice_: np.ndarray) -> np.ndarray:
        """Turn what is left of the array without the slices' axis upright: [H, W]."""
        image = slice_ if self.rows < self.columns else slice_.T
        return image[:: -1 if self.turn_rows else 1, :: -1 if self.turn_columns else 1]

    def hide(self, image: np.ndarray) -> np.ndarray:
        """Undo `show`."""
        turned = image[:: -1 if self.turn_rows else 1, :: -1 if self.turn_columns else 1]
        return turned if self.rows < self.columns else turned.T


class NiftiStack(Stack):
    """The slices of a NIfTI file along an axis.

    Levels are the file's units (scl_slope and scl_inter). A compressed file is decompressed into a temporary one, so
    that the memory does not depend on the number of slices. Raise `InputError` for a file of several volumes unless
    `cut` names one, for one that claims more than it holds, and for anything else that cannot be read.
    """

    def __init__(self, path: Path, choice: WindowChoice, cut: Cut = Cut()) -> None:  # noqa: B008
        self.path, self.cut = path, cut
        self.nibabel = library("NIfTI")
        try:
            self._unpacked, self._image = _open(self.nibabel, path, self.name)
            stored = self._image.dataobj.get_unscaled()
            self.kind = np.dtype(stored.dtype)
            if self.kind.kind not in _KINDS:
                raise InputError(
                    f"{self.name} has colors or complex numbers, which are not read: give real numbers"
                )
            self._stored = self._one_volume(stored)
            self.plane = cut.plane or "axial"
            if self.plane not in PLANES:
                raise InputError(f"--axis is {self.plane!r}: use one of {', '.join(PLANES)}")
            self.view = _View.of(self.plane, self._image.affine, self.nibabel)
            slope, inter = (float(value) for value in (self._image.dataobj.slope, self._image.dataobj.inter))
        except InputError:
            raise
        except MemoryError:
            raise InputError(f"{self.name} does not fit into the memory: make it smaller") from None
        except Exception as error:  # of nibabel, on bytes of a stranger
            raise InputError(f"{self.name} is damaged, or no NIfTI file ({reason(error)})") from None
        if slope == 0 or not np.isfinite((slope, inter)).all():
            raise InputError(f"{self.name} has a scale of {slope:g}: its levels cannot be told")
        self.scale = Scale.of(self.kind.newbyteorder("="), slope, inter)
        self.numbers = cut.of(self._stored.shape[self.view.slices], self.name, self.noun)
        self.size = self._stored.shape[self.view.rows], self._stored.shape[self.view.columns]
        if self.size[0] * self.size[1] > MAX_PIXELS:
            raise InputError(
                f"{self.name} has slices of more than {MAX_PIXELS / 1e6:g} megapixels: make it smaller"
            )
        self._say_spacing()
        self.window = self._choose(choice, self._own_window(), self.scale.limits, self._levels)

    def picture(self, index: int) -> DeepPicture:
        assert self.window is not None
        return DeepPicture(self._levels(index), self.window)

    def fits(self, other: NiftiStack) -> bool:
        """Whether both files have the same voxels: the same shape, at the same places of the world."""
        mine, its = self._image.affine, other._image.affine
        return self._stored.shape == other._stored.shape and np.allclose(mine, its, atol=_SAME_PLACE)

    def check_writable(self, grid: Grid, about: About) -> None:
        try:
            self._header(grid, about)
        except Exception as error:
            raise InputError(
                f"{self.name} has a header that cannot be written again ({reason(error)})"
            ) from None

    def write(
        self, path: Path, suffix: str, pixels: Callable[[int], np.ndarray], grid: Grid, about: About
    ) -> None:
        shape = self._shape(grid)
        with tempfile.TemporaryFile(dir=path.parent) as raw, path.open("wb") as file:
            volume: np.ndarray = np.memmap(raw, self.kind, "w+", shape=shape, order="F")
            for index in range(len(self)):
                place: list[slice | int] = [slice(None)] * 3
                place[self.view.slices] = index
                volume[tuple(place)] = self.view.hide(self.scale.stored(pixels(index)))
            image = type(self._image)(volume, None, self._header(grid, about))
            # Without a scale, nibabel would choose another than that of the source.
            image.header.set_slope_inter(self.scale.slope, self.scale.intercept)
            if suffix != ".nii.gz":
                image.to_stream(file)
            else:
                with gzip.GzipFile("", "wb", _DEFLATE_LEVEL, file, mtime=0) as stream:
                    image.to_stream(stream)

    def _one_volume(self, stored: np.ndarray) -> np.ndarray:
        """[i, j, k] of a file that may have more axes."""
        shape = stored.shape
        if len(shape) < 2 or min(shape) < 1:
            raise InputError(f"{self.name} has no slices: its shape is {shape}")
        count = int(np.prod(shape[3:])) if len(shape) > 3 else 1
        wanted = self.cut.volume
        if count > 1 and wanted is None:
            raise InputError(f"{self.name} has {count} volumes: choose one with --volume, 0 to {count - 1}")
        if wanted is not None and wanted >= count:
            raise InputError(
                f"{self.name} has {count} volume{'' if count == 1 else 's'}: --volume {wanted} is beyond"
            )
        if len(shape) == 2:
            return stored[..., None]
        place: Any = (..., *np.unravel_index(wanted or 0, shape[3:], order="F"))
        return stored[place] if len(shape) > 3 else stored

    def _levels(self, index: int) -> np.ndarray:
        place: list[slice | int] = [slice(None)] * 3
        place[self.view.slices] = self.numbers[index]
        return self.view.show(self.scale.levels(np.asarray(self._stored[tuple(place)])))

    def _own_window(self) -> Window | None:
        low, high = (float(self._image.header[field]) for field in ("cal_min", "cal_max"))
        return Window(low, high) if np.isfinite((low, high)).all() and low < high < 1e38 else None

    def _say_spacing(self) -> None:
        zooms = [float(zoom) for zoom in self._image.header.get_zooms()[:3]] + [1.0]
        down, right = zooms[self.view.rows], zooms[self.view.columns]
        if min(down, right) > 0 and max(down, right) > _ANISOTROPIC * min(down, right):
            warnings.warn(
                f"{self.name} has pixels of {right:.3g} x {down:.3g} in {self.plane} slices: the model sees squares",
                stacklevel=3,
            )

    def _shape(self, grid: Grid) -> tuple[int, ...]:
        shape = [0, 0, 0]
        shape[self.view.rows], shape[self.view.columns] = grid.size
        shape[self.view.slices] = len(self)
        return tuple(shape)

    def _header(self, grid: Grid, about: About) -> Any:
        header = self._image.header.copy()
        # Those of the source are of any program, with what it knows of the patient.
        header.extensions = type(header.extensions)()
        header.set_data_shape(self._shape(grid))
        header.set_data_dtype(self.kind)
        move = self._move(grid)
        if not np.array_equal(move, np.eye(4)):
            for get, put in ((header.get_sform, header.set_sform), (header.get_qform, header.set_qform)):
                affine, code = get(coded=True)
                if code:
                    put(affine @ move, int(code))
            if not (header["sform_code"] or header["qform_code"]):
                header.set_sform(self._image.affine @ move, 1)
                header.set_zooms(np.linalg.norm((self._image.affine @ move)[:3, :3], axis=0))
        assert self.window is not None
        header["cal_min"], header["cal_max"] = self.window.low, self.window.high
        if not about.keep_identity:
            for field in ("aux_file", "db_name", "intent_name"):
                if field in header:
                    header[field] = b""
        header["descrip"] = SYNTHETIC.encode()[:79]
        header["magic"] = header.single_magic
        header.set_data_offset(0)  # nibabel makes room for extensions
        header.extensions.append(self.nibabel.nifti1.Nifti1Extension(_COMMENT, about.settings.encode()))
        return header

    def _move(self, grid: Grid) -> np.ndarray:
        """[4, 4] from indices of the result to indices of the source."""
        move = np.eye(4)
        axes = (
            (self.view.rows, self.view.turn_rows, grid.top, grid.down),
            (self.view.columns, self.view.turn_columns, grid.left, grid.right),
        )
        for number, (axis, turned, start, step) in enumerate(axes):
            last, own_last = grid.size[number] - 1, self.size[number] - 1
            move[axis, axis] = step
            move[axis, 3] = own_last - start - last * step if turned else start
        move[self.view.slices, 3] = self.numbers.start
        return move


def settings_in(path: Path) -> str | None:
    """Return the recipe in a file that `NiftiStack.write` has made; None where there is none."""
    nibabel = library("NIfTI")
    try:
        with _opened(path) as file:
            header: Any = _header_in(nibabel, file.read(540))
            file.seek(len(header.binaryblock) + 4)  # past the flag that says that extensions follow
            size = min(int(header["vox_offset"]), _LARGEST_OFFSET) - file.tell()
            block = io.BytesIO(file.read(size))
        swapped = header.endianness != nibabel.volumeutils.native_code
        extensions = nibabel.nifti1.Nifti1Extensions.from_fileobj(block, len(block.getvalue()), swapped)
        texts = [each.get_content() for each in extensions if each.get_code() == _COMMENT]
    except Exception:  # of nibabel, on bytes of a stranger
        return None
    for text in texts:
        words = text.decode("ascii", "replace") if isinstance(text, bytes) else str(text)
        if words.lstrip().startswith("{"):
            return words.rstrip("\0 \n")
    return None


def _header_in(nibabel: Any, start: bytes) -> Any | None:
    """The header that a file starts with, without extensions; None where there is none."""
    for order in ("little", "big"):
        size = int.from_bytes(start[:4], order)
        if size in _HEADERS and len(start) >= size:
            return getattr(nibabel, _HEADERS[size])(start[:size])
    return None


def _opened(path: Path) -> Any:
    return gzip.open(path) if suffix_of(path) == ".nii.gz" else path.open("rb")


def _open(nibabel: Any, path: Path, name: str) -> tuple[Any, Any]:
    """A temporary file with the decompressed one, None for a plain one, and the image, whose pixels stay there."""
    if not path.is_file():
        raise InputError(f"{name} cannot be opened: it is {'a folder' if path.is_dir() else 'no file'}")
    try:
        packed = path.stat().st_size
        compressed = suffix_of(path) == ".nii.gz"
        with _opened(path) as file:
            kind, needed = _claims(nibabel, file, name)
            most = packed * _MOST_PER_BYTE if compressed else packed
            if needed > most:
                raise InputError(
                    f"{name} claims {needed} bytes of pixels, more than a file of {packed} bytes holds: get it again"
                )
            if not compressed:
                return None, kind.from_filename(path)
            if needed > shutil.disk_usage(tempfile.gettempdir()).free:
                raise InputError(
                    f"{name} needs {needed / 1e9:.3g} GB in {tempfile.gettempdir()}, decompressed: free some, or name "
                    "another folder in TMPDIR"
                )
            file.seek(0)
            unpacked = tempfile.NamedTemporaryFile(suffix=".nii")  # noqa: SIM115
            left = needed
            while left > 0 and (chunk := file.read(min(left, _CHUNK))):
                unpacked.write(chunk)
                left -= len(chunk)
            unpacked.flush()
            if left:
                raise InputError(f"{name} is cut off: get it again")
            return unpacked, kind.from_filename(unpacked.name)
    except (OSError, EOFError) as error:
        raise InputError(f"{name} cannot be read: {reason(error)}") from None


def _claims(nibabel: Any, file: Any, name: str) -> tuple[Any, int]:
    """The class for the file, and how long it must be for the pixels that its header claims."""
    header = _header_in(nibabel, file.read(540))
    if header is None:
        raise InputError(f"{name} is no NIfTI file: give another")
    if header["magic"].item() not in (b"n+1", b"n+2"):
        raise InputError(f"{name} is no NIfTI file of one piece: save it as .nii or .nii.gz")
    offset = float(header["vox_offset"])
    if not 0 <= offset <= _LARGEST_OFFSET:
        raise InputError(f"{name} has pixels beyond {_LARGEST_OFFSET >> 20} MiB of header: save it again")
    count = 1
    for length in header.get_data_shape():
        if length < 1:
            raise InputError(f"{name} has a side of {length}: save it again")
        count *= int(length)
    image = nibabel.Nifti1Image if len(header.binaryblock) == 348 else nibabel.Nifti2Image
    return image, int(offset) + count * header.get_data_dtype().itemsize
