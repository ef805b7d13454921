"""Tables as CSV that a spreadsheet opens safely."""

import csv
import io
from collections.abc import Iterable, Sequence

Cell = str | float | None


def to_csv(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """Return one line a row after a line with the names of the columns. None is an empty cell.

    No spreadsheet takes a text for a formula: texts may be a stranger's words, such as names of files.
    """
    lines = io.StringIO(newline="")
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_written(cell) for cell in row] for row in rows)
    return lines.getvalue()


def _written(cell: Cell) -> str:
    if cell is None:
        return ""
    if not isinstance(cell, str):
        return repr(cell)
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell
