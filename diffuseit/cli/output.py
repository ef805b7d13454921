"""Where results go: names that are known to work before a run, and images that are not lost at its end."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..images import exr
from ..images.io import OPTIONS, READABLE, check_writable, check_writable_folder, save_picture
from ..images.marks import SourceType
from ..images.medical.kinds import WRITTEN, kind_of, stem_of, suffix_of
from . import console
from .options import is_folder

if TYPE_CHECKING:
    from PIL import Image

    from ..images.deep import DeepPicture

LONGEST_NAME = 255
"""Bytes of a file's name that common file systems take."""


@dataclass(frozen=True)
class Target:
    """An image file to write: `path`, or where `overwrite` is false and another file has that name, a numbered one."""

    path: Path
    overwrite: bool = False

    def beside(self, ending: str) -> Target:
        """A further file of the same run, such as OUT-2 or OUT-grid. It overwrites nothing."""
        return Target(_with_ending(self.path, ending))

    def check_is_none_of(self, used: Mapping[str, Path | None]) -> None:
        """Raise `InputError` if the target is one of the images that the run reads, by what they are to it."""
        for role, path in used.items():
            if path is not None and _same(self.path, path):
                raise InputError(f"{self.path} is the {role} itself: give another name with -o")

    def save(
        self,
        image: Image.Image | DeepPicture,
        text: str | None = None,
        mark: SourceType | None = None,
        finish: Callable[[Path, str], None] | None = None,
    ) -> Path:
        """Save an image that took long to make, with `text` and `mark` in its metadata, and return where it is.

        `finish` is that of `save_picture`.

        Where that fails, the image becomes a PNG under a free name beside it, in the current folder, or in the folder
        for temporary files. Raise `InputError` if nothing can be written anywhere.
        """

        def write(path: Path, overwrite: bool) -> None:
            save_picture(image, path, text, mark=mark, finish=finish, overwrite=overwrite)

        return self.put(write, self.path.with_suffix(".png").name)

    def put(self, write: Callable[[Path, bool], None], name: str | None = None) -> Path:
        """Write a file by `write(path, overwrite)` and return where it is.

        Where that fails, the file goes under a free name (`name`, or the same) beside it, to the current folder, or to
        the folder for temporary files. Raise `InputError` if nothing can be written anywhere.
        """
        name = name or self.path.name
        folders = (self.path.parent, Path(), Path(tempfile.gettempdir()))
        failure = None
        for target in (self, *(Target(folder / name) for folder in folders)):
            try:
                saved = target._put(write)
            except InputError as error:
                failure = failure or error
            else:
                if failure is not None:
                    console.note(f"{failure}; saved as {saved.absolute()} instead")
                return saved
        assert failure is not None
        raise failure

    def _put(self, write: Callable[[Path, bool], None]) -> Path:
        for path in [self.path] if self.overwrite else _numbered(self.path):
            try:
                write(path, self.overwrite)
            except FileExistsError:
                continue
            return path
        raise AssertionError("a numbered name was free")


def target_for(source: Path, output: Path | None, count: int = 1) -> Target:
    """Return where the result of `source` goes: `output`, or SOURCE-translated.png in the current folder.

    The result of a medical file and of OpenEXR is of its own kind unless `output` says another one.

    With a `count` above 1 there are variations beside it. Raise `InputError` for a name that cannot be used, and for
    variations that exist.
    """
    if output is not None:
        target = Target(output, overwrite=True)
    else:
        stem = _cut(
            stem_of(source), LONGEST_NAME - 64
        )  # room for what follows: a number, a variation's ending
        candidates = map(Target, _numbered(Path(f"{stem}-translated{result_suffix(source)}")))
        target = next(each for each in candidates if not any(map(taken, _paths(each, count))))
    paths = _paths(target, count)
    for path in paths:
        check_writable(path, (*OPTIONS, *written_from(source)))
    if there := [str(path) for path in paths[1:] if taken(path)]:
        raise InputError(f"{', '.join(there)} would be overwritten: give another name with -o")
    return target


def variations_of(target: Target, count: int) -> tuple[list[Target], Target]:
    """The files of `count` variations, best first, and the file that shows them side by side."""
    others = [target.beside(f"-{number}") for number in range(2, count + 1)]
    return [target, *others], target.beside("-grid")


def folder_for(folder: Path, output: Path | None) -> Path:
    """Return where the results of the images in `folder` go: `output`, or FOLDER-translated in the current folder.

    An image in place of `folder` is one with several results.

    Raise `InputError` for a place that cannot be used.
    """
    one = not is_folder(folder)
    name = stem_of(folder) if one else folder.resolve().name
    output = output or Path(f"{_cut(name, LONGEST_NAME - 64)}-translated")
    if output.suffix.lower() in READABLE and not is_folder(output):
        what = "there are several texts" if one else f"{folder} is a folder"
        raise InputError(f"{what}: give a folder for the results with -o, not {output}")
    check_writable_folder(output)
    if _same(output, folder):
        raise InputError(f"{output} holds the sources: give another folder with -o")
    return output


def result_names(sources: list[Path], room: int = 0) -> list[str]:
    """Return a name for the result of each source, without an extension, to which `room` bytes may be added.

    It is STEM, or NAME where stems are equal, as of 1.jpg and 1.png. A name that is still not unique, or too long, gets
    a hash. Capital letters make no difference, as on some systems.
    """

    def hashed(path: Path) -> str:
        longest = min(LONGEST_NAME - 64, LONGEST_NAME - room - 24)
        return f"{_cut(path.stem, longest)}-{sha256(os.fsencode(path.name)).hexdigest()[:16]}"

    names = [stem_of(path) for path in sources]
    longer: tuple[Callable[[Path], str], ...] = (lambda path: path.name, hashed)
    for rename in longer:
        counts = Counter(name.lower() for name in names)
        names = [
            name
            if counts[name.lower()] == 1
            and len(os.fsencode(f"{name}{result_suffix(path)}")) + room <= LONGEST_NAME
            else rename(path)
            for name, path in zip(names, sources, strict=True)
        ]
    return names


def written_from(source: Path) -> tuple[str, ...]:
    """Return how names of results end that hold `source` as what it is; none of an image that becomes PNG.

    These are medical files and OpenEXR. The usual ending is the first.
    """
    kind = kind_of(source)
    if kind is not None:
        return WRITTEN[kind]
    return exr.SUFFIXES if exr.is_exr(source) else ()


def result_suffix(source: Path) -> str:
    """Return how the name of a result ends unless another one is asked for."""
    return (*written_from(source), ".png")[0]


def is_medical(target: Path, source: Path) -> bool:
    """Whether a result is of the medical kind of its source, unlike a picture of it."""
    return kind_of(source) is not None and suffix_of(target) in written_from(source)


def taken(path: Path) -> bool:
    """Whether the name is taken, even by a link that leads nowhere."""
    return os.path.lexists(path)


def _paths(target: Target, count: int) -> list[Path]:
    if count == 1:
        return [target.path]
    variations, grid = variations_of(target, count)
    return [each.path for each in (*variations, grid)]


def _numbered(path: Path) -> Iterator[Path]:
    yield path
    yield from (_with_ending(path, f"-{number}") for number in count(2))


def _with_ending(path: Path, ending: str) -> Path:
    """`path` with `ending` after its stem, which is cut to leave room."""
    rest = ending + path.name[len(stem_of(path)) :]
    return path.with_name(_cut(stem_of(path), LONGEST_NAME - len(os.fsencode(rest))) + rest)


def _cut(text: str, longest: int) -> str:
    """As many whole characters of `text` as fit in `longest` bytes of a file's name."""
    while len(os.fsencode(text)) > longest:
        text = text[:-1]
    return text


def _same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except (OSError, ValueError):
        return False
