"""A benchmark in several processes."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

import torch

_Item = TypeVar("_Item")
_Found = TypeVar("_Found")


def each(measure: Callable[[_Item], _Found], items: Iterable[_Item], processes: int) -> Iterator[_Found]:
    """Yield what `measure` finds of each item, in their order: here, or in several processes of one thread each."""
    if processes == 1:
        yield from map(measure, items)
        return
    # A process that is forked from one that has run torch may hang.
    with ProcessPoolExecutor(processes, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        yield from pool.map(measure, items)
