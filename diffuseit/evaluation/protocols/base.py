"""What the published protocols have in common: a fixed list of requests, and figures of each result and of all."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Protocol

from torch import Tensor

from ...errors import InputError
from ...images.choices import FitMode, SizeMode
from ...schema import printable, shown
from .entries import Entry

LONGEST_NAME = 500
"""Characters of the name of a request."""


@dataclass(frozen=True)
class Item:
    """One request: the picture `source`, of `from_`, should show `to`.

    `name` is the path of the result in a method's folder, without the extension. `group` is the number of the target
    class or of the kind of request.
    """

    name: str
    source: Path
    to: str
    from_: str
    group: int


@dataclass(frozen=True)
class Column:
    """A figure of a row: its key, its heading, the digits that are shown, and which way is better."""

    key: str
    label: str
    digits: int
    better: str = "low"


@dataclass(frozen=True)
class Measurement:
    """The figures of one result. `features` [D] are for figures of sets. `notes` say what was done to the pictures."""

    values: dict[str, float]
    features: Tensor | None = None
    notes: tuple[str, ...] = ()


class Benchmark(Protocol):
    """A protocol with its data and its networks.

    `fingerprint` is the SHA-256 of the list. `exact` says whether the data are the published ones, as far as that can
    be known. `references` are rows that need no method: the picture that each request gets. `published` are rows of
    the authors' table. `groups` names the groups of which there are figures of their own; none if it is empty.
    `checksums` are those of the networks. Our own results are made with `fit` and `size`.
    """

    @property
    def title(self) -> str: ...
    @property
    def columns(self) -> tuple[Column, ...]: ...
    @property
    def fit(self) -> FitMode: ...
    @property
    def size(self) -> SizeMode: ...
    @property
    def items(self) -> tuple[Item, ...]: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def exact(self) -> bool: ...
    @property
    def notes(self) -> tuple[str, ...]: ...
    @property
    def groups(self) -> Mapping[int, str]: ...
    @property
    def references(self) -> Mapping[str, Mapping[str, Path]]: ...
    @property
    def published(self) -> Mapping[str, Mapping[str, float]]: ...
    @property
    def checksums(self) -> Mapping[str, str]: ...

    def measure(self, item: Item, result: Path) -> Measurement:
        """Return the figures of a result. Raise `InputError` for a picture that cannot be measured."""

    def summarize(self, items: Sequence[Item], entries: Mapping[str, Entry]) -> dict[str, float]:
        """Return the figures over results, by the keys of `columns`; those that cannot be had are left out.

        `entries` has one by the name of each of the `items`.
        """


def fingerprint_of(lines: Iterable[str]) -> str:
    """Return the SHA-256 of a list, each line of it followed by a line break."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()


def check_name(name: str, where: str) -> str:
    """Return the name of a request, from which the path of its result is made.

    Raise `InputError` unless it is a short relative path of plain parts: a stranger may have written it.
    """
    if len(name) > LONGEST_NAME or not all(map(_is_plain, name.split("/"))):
        raise InputError(f"{where}: {shown(name, 80)} is no name of a picture in a folder")
    return name


def _is_plain(part: str) -> bool:
    """Whether every system takes it as the name of a file, and as no other folder's."""
    unfit = part.startswith((".", " ")) or part.endswith((".", " ")) or not part.isprintable()
    return bool(part) and not unfit and not set(part) & set('<>:"|?*\\')


def check_there(paths: Sequence[Path], folder: Path, what: str) -> None:
    """Raise `InputError` that names the first of the files that are missing."""
    missing = [path for path in paths if not path.is_file()]
    if missing:
        few = ", ".join(printable(path.name) for path in missing[:3])
        raise InputError(
            f"{len(missing)} of the {len(paths)} {what} are not in {printable(str(folder))}: {few}"
            f"{' and others' if len(missing) > 3 else ''}"
        )


def in_turn(pictures: Sequence[Path]) -> Iterator[Path]:
    """Yield pictures again and again, ordered by the SHA-256 of their names: a draw that is the same everywhere."""
    return cycle(sorted(pictures, key=lambda path: hashlib.sha256(path.name.encode()).hexdigest()))


def means(entries: Iterable[Entry]) -> dict[str, float]:
    """Return the mean of each figure over the entries that have it."""
    sums: dict[str, list[float]] = {}
    for entry in entries:
        for key, value in entry.values.items():
            sums.setdefault(key, []).append(value)
    return {key: sum(values) / len(values) for key, values in sums.items()}
