"""Figures of earlier runs on this machine, in a file of the user."""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ..diffuseit.errors import InputError
from ..diffuseit.files.atomic import atomic_path
from ..diffuseit.schema import check, from_json, number
from .comfy.user_files import read_object, user_file

KEPT = 100
"""How many runs the file keeps: the last ones."""


@dataclass(frozen=True)
class Figures:
    """Figures of one run.

    `calls` are the forward passes per step by the name of the network. `memory` is the bytes of weights and run.
    `size` is the (width, height) of each of the `pictures`.
    """

    calls: dict[str, float]
    seconds_per_step: float = number(low=0)
    memory: int = number(low=0)
    pictures: int = number(low=0)
    size: tuple[int, int] = number(low=0)

    def __post_init__(self) -> None:
        check(self)


class Measured:
    """The figures of earlier runs in a file. Entries that cannot be read count as not measured."""

    def __init__(self, path: Path):
        self._path = path

    def find(self, key: str) -> Figures | None:
        """Return the figures of the last run with `key`; None if there is none."""
        return self._read().get(key)

    def note(self, key: str, figures: Figures) -> None:
        """Record a run, and forget the oldest if there are too many."""
        known = self._read()
        known.pop(key, None)
        known[key] = figures
        kept = {key: asdict(known[key]) for key in list(known)[-KEPT:]}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(self._path) as path:
            path.write_text(json.dumps(kept, indent=1), encoding="utf-8")

    def _read(self) -> dict[str, Figures]:
        known = {}
        for key, values in read_object(self._path).items():
            with suppress(InputError):
                known[key] = from_json(Figures, values, key)
        return known


def measured() -> Measured:
    """Return the figures of this user's runs."""
    return Measured(user_file("diffuseit_runs.json"))
