"""Views of a scene with the poses of their cameras: a COLMAP model as text, or a transforms.json."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np

from ..errors import InputError
from ..files.atomic import atomic_path
from ..images.decode import open_regular, reason
from ..images.deep import DeepPicture
from ..images.io import OPTIONS, read_levels
from ..schema import parse, printable, shown
from .base import Frame
from .folder import FrameFolder, natural

TRANSFORMS = "transforms.json"
_COLMAP = ("", "sparse", "sparse/0", "colmap/sparse/0")
"""Where the text files of a COLMAP model may lie."""
_COPIED = ("cameras.txt", "images.txt", "points3D.txt")
_DEPTH = ("depth", "depths")
_DEPTH_SUFFIXES = (".npy", ".tif", ".tiff", ".png")

LARGEST_JSON = 100_000_000
LONGEST_LINE = 1 << 26
MAX_VIEWS = 100_000

DEPTH_UNIT = 0.001
"""What one level of a depth map of whole numbers is, in the unit of the poses, unless a file says so."""

_PINHOLE = {  # COLMAP's models: how many focal lengths they have, and how many numbers after the center
    "SIMPLE_PINHOLE": (1, 0), "PINHOLE": (2, 0), "SIMPLE_RADIAL": (1, 1), "RADIAL": (1, 2), "OPENCV": (2, 4),
    "FULL_OPENCV": (2, 8),
}  # fmt: skip
_DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")

Matrix = np.ndarray


@dataclass(frozen=True)
class View:
    """An image by its name below the folder, the camera that took it, and its depth map if there is one.

    `intrinsics` [3, 3] are in pixels, where the center of the first pixel is (0, 0), and None for a camera that is no
    pinhole. `extrinsics` [4, 4] map the world to the camera (x right, y down, z forward).
    """

    name: str
    intrinsics: Matrix | None
    extrinsics: Matrix
    depth: Path | None = None


@dataclass(frozen=True)
class Views:
    """The views in a folder, in the order of the numbers in their names, as a sequence of frames."""

    path: Path
    views: tuple[View, ...]
    images: FrameFolder
    copied: tuple[str, ...]
    """The files with the poses, by their names below the folder."""
    depth_unit: float = DEPTH_UNIT

    @staticmethod
    def are_in(folder: Path) -> bool:
        """Return whether the folder has the poses of its images."""
        return (folder / TRANSFORMS).is_file() or _colmap_in(folder) is not None

    @classmethod
    def open(cls, folder: Path) -> Views:
        """Read the poses of a folder. Nothing outside of the folder is read.

        Raise `InputError` if there are none, for poses that are not finite or have no inverse, for images that are
        missing or of several sizes, and for depth maps of cameras that are no pinholes.
        """
        if (folder / TRANSFORMS).is_file():
            found, copied, unit = _transforms(folder)
        elif (model := _colmap_in(folder)) is not None:
            found, copied, unit = _colmap(folder, model)
        else:
            binary = any((folder / place / "images.bin").is_file() for place in _COLMAP)
            remedy = (
                "; `colmap model_converter --output_type TXT` makes them from its .bin files"
                if binary
                else ""
            )
            raise InputError(f"{folder} has no {TRANSFORMS} and no cameras.txt with images.txt{remedy}")
        if not found:
            raise InputError(f"the poses in {folder} are of no images")
        if len(found) > MAX_VIEWS:
            raise InputError(f"{folder} has {len(found)} views: at most {MAX_VIEWS} are read")
        found.sort(key=lambda view: natural(view.name))
        if twice := [a.name for a, b in pairwise(found) if a.name == b.name]:
            raise InputError(f"{folder} has two poses of {printable(twice[0])}: remove one")
        for view in found:
            _check_pose(view)
            if Path(view.name).suffix.lower() not in OPTIONS:
                raise InputError(f"{printable(view.name)} cannot be written: save the views as PNG or JPEG")
        images = FrameFolder.of(folder, [folder / view.name for view in found], Fraction(1))
        return cls(folder, tuple(found), images, tuple(copied), unit)

    @property
    def count(self) -> int:
        """Return how many views there are."""
        return len(self.views)

    @property
    def size(self) -> tuple[int, int]:
        """Return height and width of all views."""
        return self.images.size

    @property
    def have_depth(self) -> bool:
        """Return whether every view has a depth map."""
        return all(view.depth is not None for view in self.views)

    def frames(self, first: int = 0) -> Iterator[Frame]:
        """Yield the views from number `first` on (`Sequence.frames`)."""
        return self.images.frames(first)

    def depth_of(self, number: int) -> Matrix:
        """Return the depth [H, W] along the axis of the camera, 0 where it is unknown.

        Raise `InputError` for a depth map of another shape than the image.
        """
        file = self.views[number].depth
        assert file is not None
        name = printable(str(file))
        depth = _npy(file, name) if file.suffix.lower() == ".npy" else _levels(file, name)
        if depth.dtype.kind in "iu":
            depth = depth * self.depth_unit
        if depth.ndim == 3 and 1 in (depth.shape[0], depth.shape[-1]):
            depth = depth.reshape([side for side in depth.shape if side != 1][:2])
        if depth.ndim != 2 or abs(depth.shape[0] * self.size[1] - depth.shape[1] * self.size[0]) > max(
            self.size
        ):
            raise InputError(
                f"{name} has the shape {depth.shape}: it must have that of the image, {self.size[0]}x{self.size[1]}"
            )
        depth = depth.astype(np.float32)
        return np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(0))

    def check_depth(self) -> None:
        """Raise `InputError` if the cameras of views with depth maps are no pinholes."""
        for view in self.views:
            if view.intrinsics is None:
                raise InputError(
                    f"the camera of {printable(view.name)} has a distortion, so its depth map cannot be used: "
                    "undistort the images first (`colmap image_undistorter`), or move the depth maps away"
                )

    def copy_poses(self, folder: Path) -> None:
        """Copy the files with the poses into `folder`, each under its name. Raise `InputError` if that fails."""
        for name in self.copied:
            target = folder / name
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                with (
                    open_regular(self.path / name, name) as source,
                    atomic_path(target) as new,
                    new.open("wb") as file,
                ):
                    shutil.copyfileobj(source, file)
            except OSError as error:
                raise InputError(f"{target} cannot be written: {reason(error)}") from None


def _check_pose(view: View) -> None:
    name = printable(view.name)
    for what, matrix in (("pose", view.extrinsics), ("intrinsics", view.intrinsics)):
        if matrix is None:
            continue
        if not np.isfinite(matrix).all():
            raise InputError(f"the {what} of {name} has numbers that are not finite")
        if abs(np.linalg.det(matrix[:3, :3])) < 1e-9:
            raise InputError(f"the {what} of {name} has no inverse")


def _transforms(folder: Path) -> tuple[list[View], list[str], float]:
    """The views of a transforms.json, as Instant NGP and nerfstudio write it. Its poses map cameras to the world."""
    name = printable(str(folder / TRANSFORMS))
    with open_regular(folder / TRANSFORMS, name) as file:
        values = parse(_all_of(file, name), name, LARGEST_JSON)
    frames = values.get("frames") if isinstance(values, dict) else None
    if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
        raise InputError(f"{name} has no list of frames")
    views, model = [], values.get("camera_model", "")
    for number, frame in enumerate(frames):
        where = f"frame {number} of {name}"
        image = _below(folder, frame.get("file_path"), where, (*OPTIONS, ""))
        matrix = _matrix(frame.get("transform_matrix"), where)
        with np.errstate(all="ignore"):
            # From OpenGL's axes (y up, looking along -z) to OpenCV's, and from the inverse.
            pose = _inverse(matrix @ np.diag([1.0, -1.0, -1.0, 1.0]), where)
        depth = None
        if frame.get("depth_file_path") is not None:
            depth = folder / _below(folder, frame["depth_file_path"], where, _DEPTH_SUFFIXES)
        camera = {**values, **frame}
        plain = model in ("", "PINHOLE", "SIMPLE_PINHOLE", "OPENCV", "PERSPECTIVE") and not any(
            _number(camera.get(key, 0), where) for key in _DISTORTION
        )
        views.append(View(image, _intrinsics(camera, folder / image, where) if plain else None, pose, depth))
    unit = values.get("integer_depth_scale", values.get("depth_unit_scale_factor", DEPTH_UNIT))
    return views, [TRANSFORMS], _number(unit, name)


def _intrinsics(camera: dict[str, Any], image: Path, where: str) -> Matrix | None:
    """The intrinsics of a frame; None where the file does not have them."""
    from ..images.io import read_size

    height, width = read_size(image)
    if "w" in camera and "h" in camera and (camera["w"], camera["h"]) != (width, height):
        said = f"{shown(camera['w'])}x{shown(camera['h'])}"
        raise InputError(f"{where} is for {said} pixels, its image has {width}x{height}")
    if "fl_x" in camera:
        x = _number(camera["fl_x"], where)
        y = _number(camera.get("fl_y", x), where)
    elif "camera_angle_x" in camera:
        x = y = width / 2 / math.tan(_number(camera["camera_angle_x"], where) / 2 or math.nan)
    else:
        return None
    # There the corner of the first pixel is (0, 0).
    center_x = _number(camera.get("cx", width / 2), where) - 0.5
    center_y = _number(camera.get("cy", height / 2), where) - 0.5
    return np.array([[x, 0, center_x], [0, y, center_y], [0, 0, 1]])


def _colmap_in(folder: Path) -> str | None:
    """Where the text files of a model lie below the folder; None if there are none."""
    for place in _COLMAP:
        if all((folder / place / name).is_file() for name in ("cameras.txt", "images.txt")):
            return place
    return None


def _colmap(folder: Path, place: str) -> tuple[list[View], list[str], float]:
    """The views of a COLMAP model. Its poses map the world to the camera."""
    model = folder / place
    cameras: dict[str, Matrix | None] = {}
    for where, words in _lines(model / "cameras.txt"):
        if len(words) < 5:
            raise InputError(f"{where} is no camera of COLMAP")
        cameras[words[0]] = _colmap_camera(words[1], words[4:], where)
    views = []
    root = "images" if (folder / "images").is_dir() else ""
    for where, words in _lines(model / "images.txt", every=2):
        if len(words) < 10 or words[8] not in cameras:
            raise InputError(f"{where} is no image of COLMAP, or its camera is missing")
        w, x, y, z, *shift = (_number_in(word, where) for word in words[1:8])
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = _rotation(w, x, y, z, where), shift
        image = _below(folder, str(PurePosixPath(root, " ".join(words[9:]))), where, tuple(OPTIONS))
        views.append(View(image, cameras[words[8]], pose, _depth_of(folder, " ".join(words[9:]))))
    copied = [str(PurePosixPath(place, name)) for name in _COPIED if (model / name).is_file()]
    return views, copied, DEPTH_UNIT


def _colmap_camera(model: str, words: list[str], where: str) -> Matrix | None:
    """The intrinsics of a pinhole; None for a camera with distortion."""
    if model not in _PINHOLE:
        return None
    numbers = [_number_in(word, where) for word in words]
    focal, more = _PINHOLE[model]
    if len(numbers) != focal + 2 + more:
        raise InputError(f"{where} has {len(numbers)} numbers, but {model} has {focal + 2 + more}")
    if any(numbers[focal + 2 :]):
        return None
    # There the corner of the first pixel is (0, 0).
    center_x, center_y = numbers[focal] - 0.5, numbers[focal + 1] - 0.5
    return np.array([[numbers[0], 0, center_x], [0, numbers[focal - 1], center_y], [0, 0, 1]])


def _rotation(w: float, x: float, y: float, z: float, where: str) -> Matrix:
    """The rotation matrix of a quaternion. Raise `InputError` if it has no length."""
    length = math.sqrt(w * w + x * x + y * y + z * z)
    if not 1e-12 < length < math.inf:
        raise InputError(f"{where} has a rotation without a length, so the pose has no inverse")
    w, x, y, z = w / length, x / length, y / length, z / length
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def _depth_of(folder: Path, image: str) -> Path | None:
    """The depth map of an image: depth/NAME.npy, .tif, or .png, with or without the image's own extension."""
    for place in _DEPTH:
        for stem in (image, str(PurePosixPath(image).with_suffix(""))):
            for suffix in _DEPTH_SUFFIXES:
                file = folder / place / f"{stem}{suffix}"
                if file.is_file():
                    return file
    return None


def _lines(file: Path, every: int = 1) -> Iterator[tuple[str, list[str]]]:
    """Yield where a line is, and its words: each line that has some, or the first of each `every`.

    In images.txt the line after an image has its points, and may be empty.
    """
    name = printable(str(file))
    with open_regular(file, name) as opened:
        number, skip = 0, 0
        while line := opened.readline(LONGEST_LINE):
            number += 1
            if len(line) == LONGEST_LINE:
                raise InputError(f"line {number} of {name} is too long: it is no text file of COLMAP")
            if skip:
                skip -= 1
            elif (words := line.decode("utf-8", "replace").split()) and not words[0].startswith("#"):
                skip = every - 1
                yield f"line {number} of {name}", words


def _below(folder: Path, name: Any, where: str, suffixes: Sequence[str]) -> str:
    """The name of a file below `folder`, which a stranger wrote. Raise `InputError` if it leads elsewhere."""
    if not isinstance(name, str) or not name or len(name) > 4096 or "\0" in name:
        raise InputError(f"{where} names no file")
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or Path(name).anchor or ":" in path.parts[0]:
        raise InputError(f"{where} names {shown(name)}, which is not in the folder")
    found = str(path)
    if not path.suffix and (folder / f"{found}.png").is_file():
        found = f"{found}.png"  # Blender's scenes leave it out
    if PurePosixPath(found).suffix.lower() not in suffixes:
        raise InputError(f"{where} names {shown(name)}, which is of a kind that is not read here")
    try:
        there = (folder / found).resolve(strict=True)
    except (OSError, ValueError, RuntimeError):
        raise InputError(f"{where} names {shown(name)}, which is not there") from None
    if not there.is_relative_to(folder.resolve()):
        raise InputError(f"{where} names {shown(name)}, a link that leads out of the folder")
    return found


def _matrix(value: Any, where: str) -> Matrix:
    rows = value if isinstance(value, list) else []
    if len(rows) not in (3, 4) or not all(isinstance(row, list) and len(row) == 4 for row in rows):
        raise InputError(f"{where} has no pose of 4x4 numbers")
    matrix = np.eye(4)
    matrix[: len(rows)] = [[_number(item, where) for item in row] for row in rows]
    return matrix


def _inverse(matrix: Matrix, where: str) -> Matrix:
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:3, :3])) < 1e-9:
        raise InputError(f"the pose of {where} has no inverse, or is not finite")
    inverse: Matrix = np.linalg.inv(matrix)
    return inverse


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{where} has {shown(value)} in place of a number")
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _number_in(word: str, where: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise InputError(f"{where} has {shown(word)} in place of a number") from None


def _all_of(file: IO[bytes], name: str) -> bytes:
    content = file.read(LARGEST_JSON + 1)
    if len(content) > LARGEST_JSON:
        raise InputError(f"{name} has more than {LARGEST_JSON // 10**6} MB")
    return content


def _levels(file: Path, name: str) -> Matrix:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        picture = read_levels(file, "full")
    if not isinstance(picture, DeepPicture) or picture.levels.ndim != 2:
        raise InputError(f"{name} is no depth map: give gray of 16 bits or of floats")
    return picture.levels


def _npy(file: Path, name: str) -> Matrix:
    """An array of numbers of NumPy's format, whose header is checked before memory is taken."""
    from numpy.lib import format as npy

    with open_regular(file, name) as opened:
        try:
            version = npy.read_magic(opened)
            read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
            shape, _, kind = read(opened)
            if kind.kind not in "fiu" or math.prod(shape) > 256_000_000:
                raise ValueError("no numbers, or too many of them")
            opened.seek(0)
            array: Matrix = np.load(opened, allow_pickle=False)
        except (ValueError, KeyError, OSError, EOFError) as error:
            raise InputError(f"{name} is no array of numbers: {reason(error)}") from None
    return array
