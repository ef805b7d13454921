"""The images in a folder of a stranger."""

from pathlib import Path

from ..errors import InputError
from .io import READABLE, unread_kinds
from .medical.kinds import is_there, kind_of


def images_in(folder: Path, volumes: bool = False) -> list[Path]:
    """Return the images in `folder`, not below it, sorted by name. Raise `InputError` if there are none.

    DICOM files are among them where pydicom is installed, and `volumes` (NIfTI) if they are asked for.
    """
    try:
        found = sorted(
            path
            for path in folder.iterdir()
            if not path.name.startswith(".") and _is_image(path, volumes) and path.is_file()
        )
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror or error}") from None
    if not found:
        unread = unread_in(folder)
        raise InputError(f"There are no images in {folder}{f', but {unread}' if unread else ''}")
    return found


def _is_image(path: Path, volumes: bool) -> bool:
    if path.suffix.lower() in READABLE:
        return True
    kind = kind_of(path)
    return kind is not None and (volumes or kind == "DICOM") and is_there(kind)


def unread_in(folder: Path) -> str | None:
    """Return, in words, how many files of which kinds in `folder` are passed over; None if there are none."""
    kinds = unread_kinds(folder)
    if not kinds:
        return None
    total = sum(kinds.values())
    files = "1 file of a kind that is" if total == 1 else f"{total} files of kinds that are"
    return f"{files} not read: {', '.join(f'{kind} ({number})' for kind, number in kinds.items())}"
