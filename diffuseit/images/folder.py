"""The images in a folder of a stranger."""

from pathlib import Path

from ..errors import InputError
from .io import READABLE, unread_kinds


def images_in(folder: Path) -> list[Path]:
    """Return the images in `folder`, not below it, sorted by name. Raise `InputError` if there are none."""
    try:
        found = sorted(
            path
            for path in folder.iterdir()
            if path.suffix.lower() in READABLE and not path.name.startswith(".") and path.is_file()
        )
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror or error}") from None
    if not found:
        unread = unread_in(folder)
        raise InputError(f"There are no images in {folder}{f', but {unread}' if unread else ''}")
    return found


def unread_in(folder: Path) -> str | None:
    """Return, in words, how many files of which kinds in `folder` are passed over; None if there are none."""
    kinds = unread_kinds(folder)
    if not kinds:
        return None
    total = sum(kinds.values())
    files = "1 file of a kind that is" if total == 1 else f"{total} files of kinds that are"
    return f"{files} not read: {', '.join(f'{kind} ({number})' for kind, number in kinds.items())}"
