"""Parts of a list of work, for several processes or machines."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeVar

from .errors import InputError
from .schema import shown

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Shard:
    """Part `number` of `of` parts. The parts are disjoint and together complete.

    A list that never changes is cut by position (`part`), so that the parts have equal lengths. The files of a folder,
    which may change between the runs of two parts, are cut by a hash of their names (`has`).
    """

    number: int = 1
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Return the part that a text such as "3/16" names. Raise `InputError` for another text."""
        match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text.strip())
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise InputError(f"--shard is {shown(text)}: give a part and their number, such as 3/16")
        return cls(int(match[1]), int(match[2]))

    def part(self, items: Sequence[_Item]) -> Sequence[_Item]:
        """Return every `of`-th item, in the order of the list."""
        return items[self.number - 1 :: self.of]

    def stretch(self, count: int) -> range:
        """Return which of `count` items belong to this part: neighbors. The lengths of parts differ by at most 1."""
        return range(self._start(self.number - 1, count), self._start(self.number, count))

    def has(self, name: str) -> bool:
        """Whether the file `name` belongs to this part. It depends on the name alone, on every machine."""
        return int.from_bytes(sha256(os.fsencode(name)).digest()[:8], "big") % self.of == self.number - 1

    def _start(self, parts: int, count: int) -> int:
        return parts * (count // self.of) + min(parts, count % self.of)


WHOLE = Shard()
"""All of a list."""
