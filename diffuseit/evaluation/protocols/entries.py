"""Figures of single results, kept in a file a row and a shard, so that a run can stop and go on."""

import base64
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...errors import InputError
from ...schema import check, text
from ..rows import append_line, read_lines

_LONGEST_FEATURES = 1 << 20


@dataclass(frozen=True)
class Entry:
    """The figures of the request `name`. `features` are float32 in base64.

    `key` is a checksum of all that they depend on. Raise `InputError` for what does not fit together.
    """

    values: dict[str, float]
    key: str = text(longest=64)
    name: str = text(longest=1_000)
    features: str = text("", longest=_LONGEST_FEATURES)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check(self)

    @property
    def vector(self) -> Tensor | None:
        """The features [D], float32; None where there are none."""
        return _unpacked(self.features) if self.features else None


def pack(features: Tensor | None) -> str:
    """Return features [D] as an `Entry` keeps them."""
    if features is None:
        return ""
    return base64.b64encode(features.detach().cpu().float().numpy().astype("<f4").tobytes()).decode()


def stack(entries: Sequence[Entry]) -> Tensor | None:
    """Return the features [N, D] of entries; None where any has none, or where there are no entries."""
    vectors = [vector for entry in entries if (vector := entry.vector) is not None]
    return torch.stack(vectors) if vectors and len(vectors) == len(entries) else None


class Store:
    """The files of a folder that keep the entries of one row: one for each shard."""

    def __init__(self, folder: Path, row: str, shard: str = "") -> None:
        self.folder, self.row = folder, row
        self.file = folder / f"{row}{f'.{shard}' if shard else ''}.jsonl"

    def read(self) -> dict[str, Entry]:
        """Return all entries of the row, of every shard, by their keys. What cannot be read is passed over."""
        return {entry.key: entry for path in self._files() for entry in _sound(read_lines(path, Entry))}

    def add(self, entry: Entry) -> None:
        """Keep an entry in the file of this shard."""
        self.folder.mkdir(parents=True, exist_ok=True)
        append_line(self.file, entry)

    def _files(self) -> list[Path]:
        pattern = re.compile(re.escape(self.row) + r"(\.[0-9]+-of-[0-9]+)?\.jsonl")
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if pattern.fullmatch(path.name))


def _sound(entries: Iterator[Entry]) -> Iterator[Entry]:
    for entry in entries:
        try:
            _ = entry.vector
        except InputError:
            continue
        yield entry


def _unpacked(features: str) -> Tensor:
    try:
        values = np.frombuffer(base64.b64decode(features, validate=True), dtype="<f4")
    except ValueError:
        raise InputError("the features are damaged") from None
    if not np.isfinite(values).all():
        raise InputError("the features are no numbers")
    return torch.from_numpy(values.astype(np.float32))
