"""Tables of verdicts: on a folder of results, which grows by a line with each result, and on the frames of a film."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files.atomic import atomic_path
from ..files.tables import to_csv
from .verdict import Verdict

FILE = "verdicts.csv"
_FIRST = ("result", "source", "label", "to", "from", "style", "seed", "summary")
_LONGEST = 10_000
_VERDICT = tuple(entry.name for entry in fields(Verdict))
_COLUMNS = (*_FIRST, *_VERDICT)
_FRAME_COLUMNS = ("frame", "warp_error", "summary", *_VERDICT)


def append_verdict(folder: Path, about: Mapping[str, str], verdict: Verdict) -> None:
    """Add a line to the table in `folder`. `about` has texts for the first columns, such as "result".

    Raise `InputError` for a file of that name that is no such table, or that cannot be written.
    """
    path = folder / FILE
    with _written(path):
        if not os.path.lexists(path):
            # Several processes may write into one table: it gets its first line once.
            with suppress(FileExistsError), atomic_path(path, overwrite=False) as new:
                new.write_text(to_csv(_COLUMNS, []), encoding="utf-8", newline="")
        _check_table(path, _COLUMNS)
        _append(path, _COLUMNS, {**about, **verdict.to_json()})


def save_frames(
    path: Path, frames: Iterable[tuple[int, Verdict | None, float | None]], *, add: bool = False
) -> None:
    """Write the table of a film: the number of each frame, its verdict, and its warp error.

    With `add`, the lines go behind those that are there. Raise `InputError` as `append_verdict` does.
    """
    with _written(path):
        if os.path.lexists(path):
            _check_table(path, _FRAME_COLUMNS)
        if not (add and path.exists()):
            with atomic_path(path) as new:
                new.write_text(to_csv(_FRAME_COLUMNS, []), encoding="utf-8", newline="")
        for number, verdict, warp_error in frames:
            told = {} if verdict is None else verdict.to_json()
            _append(path, _FRAME_COLUMNS, {"frame": number, "warp_error": warp_error, **told})


@contextmanager
def _written(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from None


def _check_table(path: Path, columns: Sequence[str]) -> None:
    if not path.is_file():
        raise InputError(f"{path} is no regular file: move it away")
    with path.open(encoding="utf-8", errors="replace") as file:
        if file.readline(_LONGEST) != to_csv(columns, []):
            raise InputError(f"{path} is another table: move it away")


def _append(path: Path, columns: Sequence[str], values: Mapping[str, Any]) -> None:
    row = to_csv(columns, [[_plain(values.get(name)) for name in columns]])
    with path.open("a", encoding="utf-8", errors="backslashreplace", newline="") as file:
        file.write(row.removeprefix(to_csv(columns, [])))


def _plain(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value
