"""Fetch checkpoints of the catalog. Nothing else in the package does, and this only when a user asks for it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ...errors import ModelError
from ...files.checksum import sha256_of
from .background import TICK
from .catalog import Entry, HubFile, find_model, members, models_folder, require_models
from .http import PATIENCE, OnProgress, Patience, Progress, Source, fetch, partial_paths, writing

LARGEST_TOKENIZER_FILE = 200_000_000
"""Bytes that a file of a tokenizer has at most."""

WAITING = "waiting for another download of this file"
"""The note of a `Progress` while another process holds the lock."""


def download(
    name: str,
    folder: str | os.PathLike[str] | None = None,
    on_progress: OnProgress = lambda progress: None,
    *,
    patience: Patience = PATIENCE,
) -> list[Path]:
    """Fetch the checkpoint or bundle `name` into the models folder; files that are there stay as they are.

    Raise `InputError` for an unknown name and `ModelError` if a file cannot be had; members of a bundle that are only
    to be got by hand are named last. Two processes may do the same at once: one fetches, the other waits for it.
    """
    entries = members(name)
    by_hand = [entry for entry in entries if entry.manual and not find_model(entry, folder)]
    paths = [
        download_entry(entry, folder, on_progress, patience=patience)
        for entry in entries
        if entry not in by_hand
    ]
    if by_hand:
        require_models(by_hand, folder)
    return paths


def download_entry(
    entry: Entry,
    folder: str | os.PathLike[str] | None = None,
    on_progress: OnProgress = lambda progress: None,
    *,
    patience: Patience = PATIENCE,
) -> Path:
    """Fetch one checkpoint, with its tokenizer, unless it is there; return its path."""
    root = models_folder(folder)
    if (there := find_model(entry, root)) is not None:
        return there
    if entry.tokenizer_folder and entry.hub:
        for name in entry.tokenizer:
            file = HubFile(entry.hub.repo, name)
            target = root / entry.tokenizer_folder / name
            _fetch_hub(file, target, None, None, LARGEST_TOKENIZER_FILE, on_progress, patience)
    target = root / entry.file
    if entry.hub:
        _fetch_hub(entry.hub, target, entry.sha256, entry.bytes, entry.most, on_progress, patience)
    elif entry.url:
        with _locked(target, on_progress):
            if not target.is_file():
                source = Source(entry.url, {}, entry.sha256, entry.bytes, entry.most)
                _note_checksum(target, fetch(source, target, on_progress, patience))
    return target


def _fetch_hub(
    file: HubFile,
    target: Path,
    sha256: str | None,
    size: int | None,
    most: int,
    on_progress: OnProgress,
    patience: Patience,
) -> None:
    from .huggingface import from_cache, locate

    def report(note: str) -> None:
        on_progress(Progress(target.name, note=note))

    with _locked(target, on_progress):
        if target.is_file():
            return
        copy = partial_paths(target)[0].with_suffix(".copy")
        try:
            if from_cache(file, copy, report):
                digest = sha256_of(copy, lambda: report("checking the file"))
                if sha256 in (None, digest):
                    with writing(target):
                        copy.replace(target)
                    _note_checksum(target, digest)
                    return
        finally:
            with writing(target):
                copy.unlink(missing_ok=True)
        source = locate(file, target, sha256=sha256, size=size, most=most, report=report, patience=patience)
        _note_checksum(target, fetch(source, target, on_progress, patience))


def _note_checksum(target: Path, sha256: str) -> None:
    """Note the checksum a file came with, so that `verify` can tell later damage where none is published."""
    with suppress(OSError):
        _checksum_note(target).write_text(sha256 + "\n", encoding="ascii")


def _noted_checksum(target: Path) -> str | None:
    try:
        with _checksum_note(target).open(encoding="ascii") as file:
            noted = file.read(100).strip()
    except (OSError, ValueError):
        return None
    return noted if re.fullmatch("[0-9a-f]{64}", noted) else None


def _checksum_note(target: Path) -> Path:
    return target.with_name(f".{target.name}.sha256")


@contextmanager
def _locked(target: Path, on_progress: OnProgress) -> Iterator[None]:
    """Let one process at a time work at `target`. The others wait, and say so."""
    lock = FileLock(target.with_name(f".{target.name}.lock"))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        waiting = not _acquired(lock, 0)
    except (OSError, NotImplementedError) as error:
        raise ModelError(
            f"cannot write in {target.parent} ({getattr(error, 'strerror', None) or error}): allow that, or choose "
            "another folder"
        ) from error
    while waiting:
        on_progress(Progress(target.name, note=WAITING))
        waiting = not _acquired(lock, TICK)
    try:
        yield
    finally:
        lock.release()


def _acquired(lock: FileLock, seconds: float) -> bool:
    try:
        lock.acquire(timeout=seconds, poll_interval=TICK / 4)
    except Timeout:
        return False
    return True


def verify(entry: Entry, path: Path) -> str | None:
    """Return what is wrong with a local file, None if it is as it was published, or as it came.

    A converted file is read instead: it has no checksum but its own.
    """
    if path.name == entry.file:
        expected = entry.sha256 or _noted_checksum(path)
        if expected is not None:
            found = sha256_of(path)
            return (
                None
                if found.startswith(expected)
                else f"checksum {found[:16]}... instead of {expected[:16]}..."
            )
    from ..checkpoint import read_checkpoint, require_kind
    from ..load import LAYOUTS

    try:
        state, _ = read_checkpoint(path)
        if entry.kind in LAYOUTS:
            require_kind(state, LAYOUTS[entry.kind], path.name)
    except ModelError as error:
        return str(error)
    return None
