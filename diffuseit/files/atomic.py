"""Files that appear whole or not at all."""

import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = ".diffuseit-"
"""How the names of files begin that are nobody's result: temporary ones, and claims (`claim.py`)."""
_TEMPORARY = re.compile(re.escape(PREFIX) + r"[0-9a-f]{16}(\.[0-9]+)?")
_ABANDONED_AFTER = 24 * 60 * 60
"""Seconds without a change after which no process is still writing to a temporary file."""


@contextmanager
def atomic_path(path: Path, *, overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and give its file the name `path` when the block ends well.

    Raise `FileExistsError` at the end of the block if `overwrite` is false and a file has that name by then.
    The temporary name starts with a dot and has no extension, so that no list of models or images shows it. It is
    short, so that it fits wherever `path` fits. What a killed process left behind is removed a day later.
    """
    _sweep(path.parent)
    temporary = path.parent / f"{PREFIX}{secrets.token_hex(8)}"
    # The operating system takes the umask off this mode. Reading the umask would mean to change it for all threads.
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield temporary
        # Without this a power failure may leave the new name with an empty file.
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        if overwrite:
            temporary.replace(path)
        else:
            _rename_to_free_name(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _rename_to_free_name(temporary: Path, path: Path) -> None:
    """Raise `FileExistsError` if `path` exists."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:
        # A file system without hard links: reserve the name, then replace the reservation.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        temporary.replace(path)


def _sweep(folder: Path) -> None:
    """Remove the temporary files in `folder` that were abandoned."""
    latest = time.time() - _ABANDONED_AFTER
    # Another process may sweep at the same time, and a file may belong to somebody else.
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _TEMPORARY.fullmatch(entry.name) and entry.stat(follow_symlinks=False).st_mtime < latest:
                Path(entry.path).unlink()
