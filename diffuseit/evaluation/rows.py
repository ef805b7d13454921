"""Rows of a report, and the file that keeps them while a folder is measured."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..errors import InputError
from ..schema import check, from_json, parse, text, to_json
from .figures import FIGURES

FILE = "rows.jsonl"
VERSION = 1
"""Changes whenever a figure is computed in another way: rows of other versions are measured again."""

LARGEST = 1 << 30
"""Bytes of the file that are read."""


T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """The figures of one result.

    `key` is a checksum of all that they depend on: the files, the texts, and the networks. `guides` are networks that
    guided the result, as its own metadata say.
    """

    values: dict[str, float]
    name: str = text(longest=1_000)
    source: str = text(longest=1_000)
    key: str = text(longest=64)
    to: str | None = None
    from_: str | None = None
    notes: tuple[str, ...] = ()
    guides: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check(self)
        if unknown := [key for key in self.values if key.partition(".")[0] not in FIGURES]:
            raise InputError(f"there is no figure {unknown[0]!r}")


def key_of(parts: Mapping[str, object]) -> str:
    """Return the checksum of what a row depends on."""
    return hashlib.sha256(json.dumps({"version": VERSION, **parts}, sort_keys=True).encode()).hexdigest()


def read_rows(path: Path) -> dict[str, Row]:
    """Return the rows of a file by their keys. Lines that cannot be read, such as one cut off, are passed over."""
    return {row.key: row for row in read_lines(path, Row)}


def append_row(path: Path, row: Row) -> None:
    """Add a row to the end of a file, on a line of its own whatever is there."""
    append_line(path, row)


def read_lines(path: Path, kind: type[T]) -> Iterator[T]:
    """Yield the dataclasses in a file, one a line. Lines that cannot be read are passed over."""
    try:
        if path.stat().st_size > LARGEST:
            return
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError):
        return
    for line in lines:
        try:
            found = from_json(kind, parse(line, "a row"), "a row") if line else None
        except InputError:
            continue
        if found is not None:
            yield found


def append_line(path: Path, entry: Any) -> None:
    """Add a dataclass to the end of a file, on a line of its own whatever is there."""
    line = json.dumps(to_json(entry))
    with path.open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")
