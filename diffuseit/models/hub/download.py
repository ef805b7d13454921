"""Fetch checkpoints of the catalogue. Nothing else in the package does, and this only where a user asks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ...errors import ModelError
from .catalog import Entry, HubFile, find_model, members, models_folder, require_models
from .http import PATIENCE, Patience, Progress, Source, fetch, partial_paths, sha256_of

OnProgress = Callable[[str, int, int | None], None]
"""Called with the name of a file, the bytes that are there and the bytes there will be (None: unknown).

What it raises ends the download and comes out of it unchanged; the part that came stays for the next time.
"""


def download(
    name: str,
    folder: str | os.PathLike[str] | None = None,
    on_progress: OnProgress | None = None,
    *,
    patience: Patience = PATIENCE,
) -> list[Path]:
    """Fetches the checkpoint or bundle `name` into the models folder; files that are there stay as they are.

    Raises `InputError` for an unknown name, `ModelError` where a file cannot be had; of a bundle, what is to be got
    by hand is said last. Two processes may do the same at once: one fetches, the other waits for it.
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
    on_progress: OnProgress | None = None,
    *,
    patience: Patience = PATIENCE,
) -> Path:
    """Fetches one checkpoint, with its tokenizer, unless it is there; its path."""
    root = models_folder(folder)
    if (there := find_model(entry, root)) is not None:
        return there
    if entry.tokenizer_folder and entry.hub:
        for name in entry.tokenizer:
            file = HubFile(entry.hub.repo, name)
            _fetch_hub(file, root / entry.tokenizer_folder / name, None, None, on_progress, patience)
    target = root / entry.file
    if entry.hub:
        _fetch_hub(entry.hub, target, entry.sha256, entry.bytes, on_progress, patience)
    elif entry.url:
        source = Source(entry.url, {}, entry.sha256, entry.bytes)
        with _locked(target):
            if not target.exists():
                _fetch(source, target, on_progress, patience)
    return target


def _fetch_hub(
    file: HubFile,
    target: Path,
    sha256: str | None,
    size: int | None,
    on_progress: OnProgress | None,
    patience: Patience,
) -> None:
    from .huggingface import from_cache, locate

    with _locked(target):
        if target.exists():
            return
        copy = partial_paths(target)[0].with_suffix(".copy")
        try:
            if from_cache(file, copy) and sha256 in (None, digest := sha256_of(copy)):
                copy.replace(target)
                record(target, digest)
                return
        finally:
            copy.unlink(missing_ok=True)
        _fetch(locate(file, sha256, size, patience), target, on_progress, patience)


def _fetch(source: Source, target: Path, on_progress: OnProgress | None, patience: Patience) -> None:
    report: Progress | None = None
    if on_progress is not None:

        def report(done: int, total: int | None) -> None:
            on_progress(target.name, done, total)

    record(target, fetch(source, target, report, patience))


def record(target: Path, sha256: str) -> None:
    """Notes the checksum a file came with, so that `verify` can tell later damage where none is published."""
    checksum_note(target).write_text(sha256 + "\n", encoding="ascii")


def checksum_note(target: Path) -> Path:
    return target.with_name(f".{target.name}.sha256")


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    """One process at a time works at `target`; the others wait."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(target.with_name(f".{target.name}.lock"))
        lock.acquire()
    except (OSError, Timeout) as error:
        raise ModelError(
            f"cannot write in {target.parent} ({getattr(error, 'strerror', None) or error}): choose another "
            "folder, with --folder or the variable DIFFUSEIT_MODELS"
        ) from error
    try:
        yield
    finally:
        lock.release()


def verify(entry: Entry, path: Path) -> str | None:
    """Whether a local file is as it was published, or as it came: None, or what is wrong with it.

    A converted file is read instead: it has no checksum but its own.
    """
    if path.name == entry.file:
        note = checksum_note(path)
        expected = entry.sha256 or (note.read_text(encoding="ascii").strip() if note.exists() else None)
        if expected is not None:
            found = sha256_of(path)
            return None if found == expected else f"checksum {found[:16]}... instead of {expected[:16]}..."
    from ..checkpoint import read_checkpoint, require_kind
    from ..load import LAYOUTS

    try:
        state, _ = read_checkpoint(path)
        require_kind(state, LAYOUTS[entry.kind], path.name)
    except ModelError as error:
        return str(error)
    return None
