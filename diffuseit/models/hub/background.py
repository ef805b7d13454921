"""Interruptible waiting for calls that cannot be interrupted: name servers, connections, reads from slow servers."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

T = TypeVar("T")

TICK = 0.2
"""Seconds between two calls of a `tick`."""

_AHEAD = 8
"""Items that a thread may take before the caller wants them."""


class NoAnswerError(Exception):
    """A call took longer than it was given."""


def in_background(items: Iterable[T], tick: Callable[[], None]) -> Generator[T, None, None]:
    """Yield `items`, which a daemon thread takes one by one. Call `tick` every `TICK` seconds while none comes.

    What `tick` raises ends the iteration at once, and so does closing it. The thread is then left behind: it ends when
    the call that it is in returns, and what it got is dropped.
    """
    ready: queue.Queue[tuple[list[T], BaseException | None]] = queue.Queue(_AHEAD)
    left = threading.Event()

    def put(item: list[T], error: BaseException | None = None) -> None:
        while not left.is_set():
            try:
                return ready.put((item, error), timeout=TICK)
            except queue.Full:
                pass
        return None

    def work() -> None:
        try:
            for item in items:
                put([item])
                if left.is_set():
                    return
            put([])
        except BaseException as error:
            put([], error)

    threading.Thread(target=work, name="DiffuseIT download", daemon=True).start()
    try:
        while True:
            try:
                item, error = ready.get(timeout=TICK)
            except queue.Empty:
                tick()
                continue
            if error is not None:
                raise error
            if not item:
                return
            yield item[0]
    finally:
        left.set()


def call(function: Callable[[], T], tick: Callable[[], None], seconds: float = float("inf")) -> T:
    """Return what `function` returns, run in a daemon thread; call `tick` every `TICK` seconds meanwhile.

    Raise `NoAnswerError` after `seconds`. The thread is then left behind, as it is when `tick` raises something.
    """
    end = time.monotonic() + seconds

    def check() -> None:
        tick()
        if time.monotonic() > end:
            raise NoAnswerError

    return next(in_background((function() for _ in range(1)), check))


def pause(seconds: float, tick: Callable[[], None]) -> None:
    """Sleep, and call `tick` every `TICK` seconds meanwhile."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        tick()
        time.sleep(min(left, TICK))
