"""Labels of a source (masks, label maps, polygons) on the pixels of its result: no level of them changes."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from ..errors import InputError
from ..files.atomic import atomic_path
from ..schema import parse, printable
from .choices import SizeMode
from .decode import READABLE, decode, look_into, reason

if TYPE_CHECKING:
    from .resize import Fit

FOLDER = "labels"
"""The folder beside results that has their labels, each under the name of its result."""
_JSON = ".json"
_LARGEST_JSON = 50_000_000
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


@dataclass(frozen=True)
class Labels:
    """The files in `folder` with the labels of each source, by the source's name: images and JSON."""

    folder: Path
    files: dict[str, tuple[Path, ...]]

    @classmethod
    def find(cls, folder: Path, sources: Iterable[Path], output: Path) -> Labels:
        """Return the labels of `sources`, for results in `output`.

        Those of photo.jpg are photo.jpg.EXT, or else photo.EXT. Raise `InputError` for a source without labels, and if
        `folder` is where the labels of the results go.
        """
        try:
            there = sorted(path for path in folder.iterdir() if path.suffix.lower() in (*READABLE, _JSON))
            if (output / FOLDER).exists() and (output / FOLDER).samefile(folder):
                raise InputError(f"{folder} is where labels of results go: give another folder with -o")
        except OSError as error:
            raise InputError(f"{folder} cannot be read: {reason(error)}") from None
        by_stem: dict[str, list[Path]] = {}
        for path in there:
            if not path.name.startswith("."):
                by_stem.setdefault(path.stem, []).append(path)
        sources = list(sources)
        files = {
            source.name: tuple(by_stem.get(source.name) or by_stem.get(source.stem) or ())
            for source in sources
        }
        if missing := [name for name, found in files.items() if not found]:
            some = ", ".join(map(printable, missing[:3])) + (" and others" if len(missing) > 3 else "")
            raise InputError(f"{folder} has no labels of {len(missing)} of {len(files)} images: {some}")
        return cls(folder, files)

    @staticmethod
    def lacking(targets: Iterable[Path]) -> int:
        """Return how many of the results that exist have no labels."""
        suffixes = (".png", ".tif", _JSON)
        return sum(
            target.exists()
            and not any((target.parent / FOLDER / f"{target.stem}{end}").exists() for end in suffixes)
            for target in targets
        )

    def beside(self, target: Path, source: Path, fit: Fit, size: SizeMode) -> list[Path]:
        """Write the labels of `source` for its result `target`, which `fit` and `size` have made. Return the files.

        Raise `InputError` for labels of another size than the source has, for JSON that cannot follow, and for other
        files that have the names.
        """
        made: dict[Path, bytes] = {}
        for file in self.files[source.name]:
            if file.suffix.lower() == _JSON:
                suffix, content = _JSON, _json(file, target, fit, size)
            else:
                suffix, content = _image(file, fit, size)
            path = target.parent / FOLDER / f"{target.stem}{suffix}"
            if path in made:
                raise InputError(f"{source} has several label images in {self.folder}: leave one")
            made[path] = content
        for path, content in made.items():
            _write(path, content)
        return list(made)


def at_result(label: Image.Image, fit: Fit, size: SizeMode) -> Image.Image:
    """Return a label map, whose size is that of the source, on the pixels of the result, by the nearest neighbor."""
    top, left, height, width = fit.window
    cut = label.crop((left, top, left + width, top + height))
    rows, columns = fit.window[2:] if size == "source" else fit.content
    return cut.resize((columns, rows), Image.Resampling.NEAREST)


def _image(file: Path, fit: Fit, size: SizeMode) -> tuple[str, bytes]:
    """The extension and the content of the file of a label map's result. Colors of a palette stay numbers."""
    name = printable(str(file))
    look_into(file, lambda image, _: _check_size(name, image.height, image.width, fit))
    label = at_result(decode(file), fit, size)
    suffix, form = (".png", "PNG") if label.mode in _PNG_MODES else (".tif", "TIFF")
    content = io.BytesIO()
    try:
        label.save(content, form)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{name} has pixels (mode {label.mode}) that are no labels: {reason(error)}"
        ) from None
    return suffix, content.getvalue()


def _json(file: Path, target: Path, fit: Fit, size: SizeMode) -> bytes:
    """The content of the file with a result's labels. Points of labelme move; others need that no pixel moves."""
    name = printable(str(file))
    try:
        if not file.is_file() or file.stat().st_size > _LARGEST_JSON:
            raise InputError(f"{name} is no regular file, or has more than {_LARGEST_JSON // 10**6} MB")
        text = file.read_bytes()
    except OSError as error:
        raise InputError(f"{name} cannot be opened: {reason(error)}") from None
    values = parse(text, name, _LARGEST_JSON)
    top, left, height, width = fit.window
    rows, columns = fit.window[2:] if size == "source" else fit.content
    if not (isinstance(values, dict) and isinstance(values.get("shapes"), list)):
        if fit.window == (0, 0, *fit.source) and (rows, columns) == fit.source:
            return text
        raise InputError(
            f"{name} is not in labelme's format, so its points cannot follow: add --size source, without --fit crop"
        )
    try:
        _check_size(name, int(values["imageHeight"]), int(values["imageWidth"]), fit)
        for shape in values["shapes"]:
            shape["points"] = [
                [(float(x) - left) * columns / width, (float(y) - top) * rows / height]
                for x, y in shape["points"]
            ]
    except (KeyError, TypeError, ValueError, OverflowError):
        raise InputError(f"{name} is damaged: a shape of labelme has points, and the image a size") from None
    # `imageData` is the source itself.
    changed: dict[str, Any] = {
        "imageHeight": rows,
        "imageWidth": columns,
        "imagePath": f"../{target.name}",
        "imageData": None,
    }
    return json.dumps(values | changed, indent=2).encode()


def _check_size(name: str, height: int, width: int, fit: Fit) -> None:
    if (height, width) != fit.source:
        raise InputError(
            f"{name} is for {width}x{height} pixels, but the image has {fit.source[1]}x{fit.source[0]}: "
            "give labels of the same size"
        )


def _write(path: Path, content: bytes) -> None:
    """Raise `InputError` if another file has the name."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path, overwrite=False) as new:
            new.write_bytes(content)
    except FileExistsError:
        if not path.is_file() or path.read_bytes() != content:
            raise InputError(f"{path} is there already and is something else: move it away") from None
    except OSError as error:
        raise InputError(f"{path} cannot be written: {reason(error)}") from None
