"""Optical flow in files: Middlebury's .flo, and OpenEXR files of 3D software."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..images.decode import MAX_PIXELS, open_regular
from ..images.exr import SUFFIXES as EXR
from ..images.exr import exr_size, read_exr
from ..schema import printable
from .base import MAX_FRAMES
from .folder import natural

SUFFIXES = (".flo", *EXR)
FORWARD, BACKWARD = "forward", "backward"
"""The folders of files with flow in one direction."""

FARTHEST = 1e6
"""Pixels of a motion, beyond which it is none. Files of Middlebury have larger numbers where it is unknown."""

_HEADER = struct.Struct("<fii")
_MAGIC = 202021.25  # "PIEH" as a float
_VECTOR = ("X", "Y", "Z", "W")
_PAIRS = (("r", "g"), ("x", "y"), ("u", "v"))


@dataclass(frozen=True)
class FlowFolder:
    """A folder with flow, number i of which is in the files `forward[i]` and `backward[i]`.

    Those with `vectors` are OpenEXR files with both directions.
    """

    path: Path
    forward: tuple[Path, ...]
    backward: tuple[Path, ...]
    size: tuple[int, int]
    vectors: bool

    @classmethod
    def open(cls, folder: Path) -> FlowFolder:
        """Look into a folder: the names and sizes of its files, in the order of the numbers in their names.

        It has an OpenEXR file with Blender's Vector pass for each frame, or the folders `FORWARD` and `BACKWARD`. These
        have a file for each frame but the last one, or but the first one, or a file for each frame, of which the last
        one, or the first one, leads nowhere. Raise `InputError` for other folders, and for files of several sizes.
        """
        ways = {name: folder / name for name in (FORWARD, BACKWARD) if (folder / name).is_dir()}
        if len(ways) == 1:
            raise InputError(
                f"{folder} has flow in one direction: it needs the folders {FORWARD} and {BACKWARD}"
            )
        if ways:
            forward, backward = (_flows_in(ways[name]) for name in (FORWARD, BACKWARD))
            if len(forward) != len(backward):
                raise InputError(
                    f"{folder} has {len(forward)} files in {FORWARD} and {len(backward)} in {BACKWARD}: "
                    "give as many of both"
                )
        else:
            forward = backward = _flows_in(folder)
            for file in forward:
                if file.suffix.lower() not in EXR:
                    raise InputError(
                        f"{printable(str(file))} has flow in one direction: put such files into the folders "
                        f"{FORWARD} and {BACKWARD}"
                    )
        size = flow_size(forward[0])
        for file in (*forward, *(backward if ways else ())):
            if (other := flow_size(file)) != size:
                raise InputError(
                    f"{printable(str(file))} is {other[1]}x{other[0]} pixels, and the flow before it "
                    f"{size[1]}x{size[0]}: give flow of one size"
                )
        return cls(folder, tuple(forward), tuple(backward), size, not ways)

    def __len__(self) -> int:
        return len(self.forward)

    def fitting(self, count: int, size: tuple[int, int]) -> FlowFolder:
        """Return the flow between `count` frames of `size` (height, width), without files that lead nowhere.

        Number i of it is between the frames i and i + 1. Raise `InputError` if it is for another number of frames, or
        for frames of another size.
        """
        if self.size != size:
            raise InputError(
                f"the flow in {self.path} is for {self.size[1]}x{self.size[0]} pixels, and the frames have "
                f"{size[1]}x{size[0]}: render it at their size"
            )
        if self.vectors and len(self) != count:
            raise InputError(
                f"{self.path} has flow for {len(self)} frames, and there are {count}: give a file for each"
            )
        if len(self) not in (count - 1, count):
            raise InputError(
                f"{self.path} has {len(self)} files for each direction, and there are {count} frames: "
                f"give {max(count - 1, 1)}"
            )
        if len(self) == count - 1:
            return self
        return replace(self, forward=self.forward[:-1], backward=self.backward[1:])

    @property
    def files(self) -> tuple[Path, ...]:
        """Return all files, each once."""
        return tuple(dict.fromkeys((*self.forward, *self.backward)))

    def read(self, number: int) -> tuple[Tensor, Tensor]:
        """Return the flow of a number, forward and backward, each [2, H, W] as `read_flow` returns it.

        Raise `InputError` that names the file if it cannot be used.
        """
        forward, backward = self.forward[number], self.backward[number]
        if not self.vectors:
            return read_flow(forward), read_flow(backward)
        onward, back = read_vectors(forward)
        return onward, back if backward == forward else read_vectors(backward)[1]


def _flows_in(folder: Path) -> list[Path]:
    try:
        found = [
            path
            for path in folder.iterdir()
            if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
        ]
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror or error}") from None
    if not found:
        raise InputError(f"{folder} has no flow: give a folder with {' or '.join(SUFFIXES)} files")
    if len(found) > MAX_FRAMES:
        raise InputError(f"{folder} has {len(found)} files: at most {MAX_FRAMES} are read")
    return sorted(found, key=lambda path: natural(path.name))


def flow_size(path: Path) -> tuple[int, int]:
    """Return height and width of the flow in a file. No pixels are read. Raise `InputError` as `read_flow` does."""
    if path.suffix.lower() in EXR:
        return exr_size(path)
    name = printable(str(path))
    with open_regular(path, name) as file:
        head = file.read(_HEADER.size)
        length = path.stat().st_size
    if len(head) < _HEADER.size or _HEADER.unpack(head)[0] != _MAGIC:
        raise InputError(f"{name} is no .flo file of Middlebury's format: save or download it again")
    _, width, height = _HEADER.unpack(head)
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise InputError(
            f"{name} is {width}x{height} pixels: at most {MAX_PIXELS / 1e6:g} megapixels are read"
        )
    if length != _HEADER.size + 8 * width * height:
        raise InputError(
            f"{name} is cut off or damaged: {width}x{height} pixels do not fit its {length} bytes"
        )
    return height, width


def read_flow(path: Path) -> Tensor:
    """Return the flow of one direction in a file: [2, H, W], by how many pixels (x, y) each pixel moves; y points down.

    OpenEXR files have it in the channels R and G, X and Y, or U and V. Raise `InputError` for a file that has none,
    that is damaged, or that has values that are not finite.
    """
    name = printable(str(path))
    if path.suffix.lower() not in EXR:
        return _checked(_flo(path, name), name)
    layers = _layers(path)
    for pair in _PAIRS:
        for layer in layers:
            own = {key.lower(): pixels for key, pixels in layer.items()}
            if set(pair) <= own.keys():
                return _checked(np.stack([own[key].astype(np.float32) for key in pair]), name)
    raise InputError(f"{name} has no flow: it needs two channels, such as R and G")


def read_vectors(path: Path) -> tuple[Tensor, Tensor]:
    """Return the flow in the Vector pass of Blender, to the next frame and to the one before: each as `read_flow` does.

    The channels X and Y are the position in the frame before, less the one now, and Z and W are the position now, less
    the one in the next frame, with y up. Raise `InputError` as `read_flow` does.
    """
    name = printable(str(path))
    found = [layer for layer in _layers(path) if set(_VECTOR) <= layer.keys()]
    if len(found) != 1:
        raise InputError(
            f"{name} has {'several Vector passes' if found else 'no Vector pass'}: it needs one, with the channels "
            f"X, Y, Z, and W (for flow in one direction, make the folders {FORWARD} and {BACKWARD})"
        )
    x, y, z, w = (found[0][channel].astype(np.float32) for channel in _VECTOR)
    return _checked(np.stack([-z, w]), name), _checked(np.stack([x, -y]), name)


def _layers(path: Path) -> list[dict[str, np.ndarray]]:
    """The channels of each layer of an OpenEXR file."""
    layers: dict[str, dict[str, np.ndarray]] = {}
    for name, pixels in read_exr(path).items():
        layer, _, channel = name.rpartition(".")
        layers.setdefault(layer, {})[channel] = pixels
    return list(layers.values())


def _checked(flow: np.ndarray, name: str) -> Tensor:
    # Comparisons with NaN are false.
    if not (np.abs(flow) < FARTHEST).all():
        raise InputError(
            f"{name} has motions that are not finite or over {FARTHEST:.0f} pixels: render it again without them"
        )
    return torch.from_numpy(np.ascontiguousarray(flow, dtype=np.float32))


def _flo(path: Path, name: str) -> np.ndarray:
    height, width = flow_size(path)
    with open_regular(path, name) as file:
        file.seek(_HEADER.size)
        values = np.frombuffer(file.read(8 * width * height), "<f4")
    if len(values) != 2 * width * height:
        raise InputError(f"{name} is cut off: save or download it again")
    return values.reshape(height, width, 2).transpose(2, 0, 1)
