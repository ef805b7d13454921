"""Claims: which of several processes makes a file, without a lock and without a server.

A claim is a small hidden file beside the file that it is for. It appears whole, under a name that one process alone can
create. Its process renews its time of change while it works. A claim that was not renewed for `ABANDONED_AFTER` is that
of a dead process. Another one takes it over by creating the claim of the next generation, which again one process alone
can do. The times are all of the file system's clock, so the clocks of the machines do not matter.
"""

from __future__ import annotations

import json
import os
import platform
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import TypeVar

from .atomic import PREFIX, atomic_path

_Item = TypeVar("_Item")

RENEWED_EVERY = 20.0
"""Seconds between two signs of life."""
ABANDONED_AFTER = 180.0
"""Seconds without a sign of life after which a claim is taken over. Network file systems show one up to 60 late."""
LOOK_EVERY = 5.0
"""Seconds between two looks at the claims of other processes."""


def claimed(
    work: Sequence[_Item], target_of: Callable[[_Item], Path], on_wait: Callable[[int], None]
) -> Generator[tuple[int, _Item], None, None]:
    """Yield the items whose target does not exist yet, each claimed until the next one is asked for.

    Items that other processes have claimed come last: the iterator waits until their targets exist, or takes them over.
    Before the first wait it calls `on_wait` with their number. The number in what is yielded is that of the items that
    are settled. If a target is not made, other processes try too. Raise `OSError` if no file can be written.
    """
    left = list(work)
    while left:
        busy: list[_Item] = []
        for position, item in enumerate(left):
            target = target_of(item)
            with claim(target) as mine:
                if not mine:
                    busy.append(item)
                elif not os.path.lexists(target):
                    yield len(work) - len(left) - len(busy) + position, item
        left = [item for item in busy if not os.path.lexists(target_of(item))]
        if left:
            on_wait(len(left))
            on_wait = _ignore
            time.sleep(LOOK_EVERY)


@contextmanager
def claim(path: Path) -> Iterator[bool]:
    """Claim the making of `path` during the block, and yield whether that worked. Make the folder if it is missing.

    The one who has a claim must look whether the file is there by now. Raise `OSError` if no claim can be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    generation = _create(path)
    if generation is None:
        yield False
        return
    ended = threading.Event()
    renewing = threading.Thread(target=_renew, args=(_name(path, generation), ended), daemon=True)
    renewing.start()
    try:
        yield True
    finally:
        ended.set()
        renewing.join()
        _release(path, generation)


def _create(path: Path) -> int | None:
    """Create a claim and return its generation; None if another process has one and lives."""
    last = next(number for number in count() if not _name(path, number).exists()) - 1
    about = {"for": path.name, "machine": platform.node(), "process": os.getpid()}
    try:
        with atomic_path(_name(path, last + 1), overwrite=False) as new:
            new.write_text(json.dumps(about), encoding="ascii")
            if last >= 0 and _age(_name(path, last), new) <= ABANDONED_AFTER:
                raise FileExistsError
    except FileExistsError:
        return None
    return last + 1


def _age(old: Path, new: Path) -> float:
    """Seconds from the last sign of life in `old` to now, which is when `new` was written; 0 if `old` has just gone."""
    try:
        return new.stat().st_mtime - old.stat().st_mtime
    except FileNotFoundError:
        return 0


def _renew(mine: Path, ended: threading.Event) -> None:
    while not ended.wait(RENEWED_EVERY):
        with suppress(OSError):
            os.utime(mine)


def _release(path: Path, generation: int) -> None:
    """Remove the claims up to `generation`. If a later one exists, they are its business."""
    if _name(path, generation + 1).exists():
        return
    # The oldest first: what is left in between is never an abandoned claim alone.
    for number in range(generation + 1):
        with suppress(OSError):
            _name(path, number).unlink(missing_ok=True)


def _name(path: Path, generation: int) -> Path:
    """A hidden name that fits wherever that of `path` fits. `atomic` sweeps it away if nobody does."""
    return path.with_name(f"{PREFIX}{sha256(os.fsencode(path.name)).hexdigest()[:16]}.{generation}")


def _ignore(_: int) -> None:
    pass
