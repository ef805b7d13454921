"""Checksums of files."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from .errors import InputError


def sha256_of(path: Path, on_block: Callable[[], None] = lambda: None) -> str:
    """Return the SHA-256 of a file in hexadecimal. Raise `InputError` if it cannot be read or is not a regular file.

    `on_block` is called after every block of 1 MB; what it raises comes out unchanged.
    """
    digest = hashlib.sha256()
    for block in _blocks(path):
        digest.update(block)
        on_block()
    return digest.hexdigest()


def _blocks(path: Path) -> Iterator[bytes]:
    try:
        # The end of a pipe or a device may never come.
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"{path} cannot be opened: it is no regular file")
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                yield block
    except OSError as error:
        raise InputError(f"{path} cannot be opened: {error.strerror or error}") from None
