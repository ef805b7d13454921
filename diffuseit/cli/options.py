"""What the options of several commands have in common."""

from pathlib import Path

import typer


def path(text: str | Path) -> Path:
    """Return the path that a user typed, with `~` expanded: shells leave it alone in `--output=~/result.png`.

    An empty text, as an unset variable of a shell gives, would mean the current folder. It is refused.
    """
    if not str(text):
        raise typer.BadParameter("it is empty: give a file or a folder")
    typed = Path(text)
    try:
        return typed.expanduser()
    except RuntimeError:  # no such user: the name of a file may begin with ~
        return typed


def is_folder(path: Path) -> bool:
    """Whether `path` is a folder. A path that the system does not take is none."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False
