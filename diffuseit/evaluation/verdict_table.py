"""The verdicts on a folder of results, as a table that grows by a line with each result."""

import csv
import io
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from ..errors import InputError
from .report import inert
from .verdict import Verdict

FILE = "verdicts.csv"
_FIRST = ("result", "source", "to", "from", "style", "seed", "summary")
_COLUMNS = (*_FIRST, *(entry.name for entry in fields(Verdict)))


def append_verdict(folder: Path, about: Mapping[str, str], verdict: Verdict) -> None:
    """Add a line to the table in `folder`. `about` has texts for the first columns, such as "result".

    Raise `InputError` for a file of that name that is no such table, or that cannot be written.
    """
    path = folder / FILE
    values = {**about, **verdict.to_json()}
    try:
        new = not path.exists()
        if not new and path.open(encoding="utf-8", errors="replace").readline() != _line(_COLUMNS):
            raise InputError(f"{path} is another table: move it away")
        with path.open("a", encoding="utf-8", errors="backslashreplace", newline="") as file:
            file.write(
                (_line(_COLUMNS) if new else "") + _line([_cell(values.get(name)) for name in _COLUMNS])
            )
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from None


def _cell(value: object) -> str:
    if value is None:
        return ""
    return (
        str(value).lower()
        if isinstance(value, bool)
        else inert(str(value))
        if isinstance(value, str)
        else str(value)
    )


def _line(cells: object) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow(cells)  # type: ignore[arg-type]
    return text.getvalue()
