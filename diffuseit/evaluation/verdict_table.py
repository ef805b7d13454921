"""The verdicts on a folder of results, as a table that grows by a line with each result."""

import os
from collections.abc import Mapping
from contextlib import suppress
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
_COLUMNS = (*_FIRST, *(entry.name for entry in fields(Verdict)))


def append_verdict(folder: Path, about: Mapping[str, str], verdict: Verdict) -> None:
    """Add a line to the table in `folder`. `about` has texts for the first columns, such as "result".

    Raise `InputError` for a file of that name that is no such table, or that cannot be written.
    """
    path = folder / FILE
    values = {**about, **verdict.to_json()}
    text = to_csv(_COLUMNS, [[_plain(values.get(name)) for name in _COLUMNS]])
    first = text[: text.index("\n") + 1]
    try:
        if not os.path.lexists(path):
            # Several processes may write into one table: it gets its first line once.
            with suppress(FileExistsError), atomic_path(path, overwrite=False) as new:
                new.write_text(first, encoding="utf-8", newline="")
        if not path.is_file():
            raise InputError(f"{path} is no regular file: move it away")
        with path.open(encoding="utf-8", errors="replace") as file:
            if file.readline(_LONGEST) != first:
                raise InputError(f"{path} is another table: move it away")
        with path.open("a", encoding="utf-8", errors="backslashreplace", newline="") as file:
            file.write(text.removeprefix(first))
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from None


def _plain(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value
