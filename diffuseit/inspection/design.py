"""Factorial designs: every content in every style, one picture each."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..errors import InputError
from ..images.decode import look_into
from ..images.folder import images_in
from ..images.io import load_picture, to_tensor
from ..models.resize import resize
from ..schema import printable

LEAST = 2
"""Contents and styles that a design must have: of one alone, nothing varies."""

MOST_PICTURES = 4_000
"""Pictures of a design. The Gram matrices of more would take gigabytes."""

_NAMED = 5


@dataclass(frozen=True)
class Design:
    """Contents and styles by name, and their pictures.

    `picture(content, style)`, by their numbers, returns [1, 3, H, W] in [-1, 1], and `size` is its (height, width).
    `notes` say in a line each what is left out or changed.
    """

    name: str
    contents: tuple[str, ...]
    styles: tuple[str, ...]
    size: tuple[int, int]
    picture: Callable[[int, int], Tensor]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for names, what in ((self.contents, "picture in every style"), (self.styles, "style")):
            if len(names) < LEAST:
                raise InputError(f"{self.name} has {len(names)} {what}: give {LEAST} or more")
        if len(self) > MOST_PICTURES:
            raise InputError(f"{self.name} has {len(self)} pictures: give at most {MOST_PICTURES}")

    def __len__(self) -> int:
        return len(self.contents) * len(self.styles)


def folder_design(folder: Path) -> Design:
    """Return the design in `folder`: a folder for each style, with a picture of the same name for each content.

    `winter/house.png` and `night/house.jpg` show one content in two styles. Contents that lack a style are left out,
    and pictures of another size than the first are resized; `notes` tell of both. Raise `InputError` for fewer than
    two styles or contents, or for a name that two pictures of one style have.
    """
    where = printable(str(folder))
    try:
        styles = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise InputError(f"{where} cannot be read: {error.strerror or error}") from None
    if len(styles) < LEAST:
        found = "one folder" if styles else "no folders"
        raise InputError(
            f"{where} has {found} in it: give a folder for each style, two or more, with pictures of the same names"
        )
    files = {style.name: _by_stem(style) for style in styles}
    everything = sorted(set().union(*files.values()))
    contents = [name for name in everything if all(name in own for own in files.values())]
    missing = [
        f"{style} has no {name}" for style, own in files.items() for name in everything if name not in own
    ]
    if len(contents) < LEAST:
        listed = f" ({_few(missing)})" if missing else ""
        raise InputError(
            f"{where} has {len(contents)} {'picture' if contents else 'pictures'} of the same name in all of its "
            f"{len(styles)} folders: give two or more{listed}"
        )
    pictures = [[files[style.name][name] for style in styles] for name in contents]
    sizes = [[look_into(path, lambda image, _: image.size) for path in row] for row in pictures]
    first = load_picture(pictures[0][0])
    size = (first.height, first.width)
    others = sum(one != sizes[0][0] for row in sizes for one in row)
    notes = []
    if left_out := len(everything) - len(contents):
        verb = "name is" if left_out == 1 else "names are"
        notes.append(f"{left_out} {verb} left out, which not every folder has: {_few(missing)}")
    if others:
        verb = "picture of another size is" if others == 1 else "pictures of another size are"
        notes.append(f"{others} {verb} resized to {size[1]}x{size[0]}, the size of the first")

    def picture(content: int, style: int) -> Tensor:
        return resize(to_tensor(load_picture(pictures[content][style])), size, antialias=True)

    return Design(
        printable(folder.name) or where,
        tuple(map(printable, contents)),
        tuple(printable(style.name) for style in styles),
        size,
        picture,
        tuple(notes),
    )


def _by_stem(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in images_in(folder):
        if path.stem in found:
            raise InputError(
                f"{printable(str(folder))} has both {printable(found[path.stem].name)} and {printable(path.name)}: "
                "keep one picture of each name"
            )
        found[path.stem] = path
    return found


def _few(lines: list[str]) -> str:
    rest = f", and {len(lines) - _NAMED} more" if len(lines) > _NAMED else ""
    return ", ".join(printable(line) for line in lines[:_NAMED]) + rest
