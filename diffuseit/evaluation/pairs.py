"""Which files of which folders belong together, by their names, and the table of what each result should show."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError
from ..images.folder import images_in
from ..images.io import READABLE
from ..schema import LONGEST_TEXT, check, printable, shown, text

LARGEST_TABLE = 64_000_000
"""Bytes of a table of targets."""

COLUMNS = ("file", "source", "to", "from", "class")
LONGEST_NAME = 1_000


@dataclass(frozen=True)
class Target:
    """What a row of the table says of the result `file`. Raise `InputError` for a text that is too long."""

    file: str = text(longest=LONGEST_NAME)
    source: str | None = text(None, longest=LONGEST_NAME)
    to: str | None = text(None, longest=LONGEST_TEXT)
    from_: str | None = text(None, longest=LONGEST_TEXT)
    class_: str | None = text(None, longest=LONGEST_NAME)

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Pair:
    """A result with the files that belong to it."""

    result: Path
    source: Path
    target: Target | None = None
    mask: Path | None = None
    style: Path | None = None

    @property
    def name(self) -> str:
        return self.result.name


@dataclass(frozen=True)
class Pairs:
    """What is to be measured, and what is not and why, in a line each.

    `styles` are style images for all results alike, and `style_classes` the folders that they lie in where there is
    one for each class. `failures` is by the names of results; `notes` are about the rest.
    """

    pairs: tuple[Pair, ...]
    styles: tuple[Path, ...] = ()
    style_classes: tuple[str, ...] = ()
    failures: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def find_pairs(
    results: Path,
    sources: Path,
    *,
    targets: Path | None = None,
    style: Path | None = None,
    masks: Path | None = None,
) -> Pairs:
    """Return the results in a folder with their sources, and with what else there is for each.

    A file belongs to a result if it has the same name, or the same name without the extension, or if its whole name is
    the result's without the extension, as `diffuseit translate` names results of 1.jpg and 1.png. The column `source`
    of the table comes first. If every result has a style image of its name, that is its own; else all style images
    count for all. A folder of style images may have one folder for each class instead. Raise `InputError` if nothing
    pairs, or for a table that cannot be read.
    """
    found = images_in(results)
    source_files = images_in(sources)
    by_name = {path.name: path for path in source_files}
    table = {} if targets is None else read_targets(targets)
    find_source, find_mask = Names(source_files), Names(() if masks is None else images_in(masks))
    styles, style_classes = _styles(style)
    find_style = Names(styles)
    styled = sum(find_style.of(path)[0] is not None for path in found)
    own_styles = len(styles) > 1 and styled == len(found) and not style_classes
    pairs, failures, without_mask, used = [], {}, [], set()
    for path in found:
        target = table.get(path.name)
        source, problem = find_source.of(path)
        if target is not None and target.source is not None:
            source = by_name.get(target.source)
            problem = f"the table's source {shown(target.source)} is not in {sources}"
        if source is None:
            failures[path.name] = problem or f"no source of this name in {sources}"
            continue
        if targets is not None and target is None:
            failures[path.name] = f"no row in {targets}"
            continue
        mask = find_mask.of(path)[0]
        if masks is not None and mask is None:
            without_mask.append(path.name)
        used.add(source)
        pairs.append(Pair(path, source, target, mask, find_style.of(path)[0] if own_styles else None))
    if not pairs:
        name, reason = next(iter(failures.items()))
        raise InputError(
            f"None of the {len(found)} images in {results} can be measured: the first is {printable(name)}, {reason}"
        )
    unused = [path.name for path in source_files if path not in used]
    unknown = sorted(table.keys() - {path.name for path in found})
    notes = [
        _listed(unused, "source has no result", "sources have no result"),
        _listed(without_mask, "result has no mask", "results have no mask"),
        _listed(unknown, "row names no result", "rows name no result"),
    ]
    if 0 < styled < len(found) and len(styles) > 1 and not style_classes:
        notes.append(
            f"{styled} of {len(found)} results have a style image of their name: all style images count for all results"
        )
    return Pairs(
        tuple(pairs),
        () if own_styles else styles,
        style_classes,
        failures,
        tuple(note for note in notes if note),
    )


def _styles(style: Path | None) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """The style images, and the folder of each if there is one for each class."""
    if style is None:
        return (), ()
    if not style.is_dir():
        return (style,), ()
    try:
        entries = sorted(style.iterdir())
        folders = [path for path in entries if path.is_dir() and not path.name.startswith(".")]
        plain = any(path.is_file() and path.suffix.lower() in READABLE for path in entries)
    except OSError as error:
        raise InputError(f"{style} cannot be read: {error.strerror or error}") from None
    if plain or not folders:
        return tuple(images_in(style)), ()
    found = [(path, folder.name) for folder in folders for path in images_in(folder)]
    return tuple(path for path, _ in found), tuple(name for _, name in found)


class Names:
    """Finds the file of a folder that belongs to a result."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._whole: dict[str, Path] = {}
        self._stems: dict[str, list[Path]] = defaultdict(list)
        for path in files:
            self._whole[path.name] = path
            self._stems[path.stem].append(path)

    def of(self, result: Path) -> tuple[Path | None, str | None]:
        """Return the file, or why there is none, if there is more to say than that."""
        for whole in (result.name, result.stem):
            if whole in self._whole:
                return self._whole[whole], None
        candidates = self._stems.get(result.stem, [])
        if len(candidates) > 1:
            names = ", ".join(printable(path.name) for path in candidates)
            return None, f"it may belong to each of {names}: name its source in a table (--targets)"
        return (candidates[0], None) if candidates else (None, None)


def read_targets(path: Path) -> dict[str, Target]:
    """Return the rows of a table in CSV by the file of their result.

    The first line names the columns: `file`, and any of `source`, `to`, `from`, `class`. Commas, semicolons or tabs
    lie between them. Raise `InputError` for what cannot be read, with the line.
    """
    name = printable(str(path))
    try:
        if path.stat().st_size > LARGEST_TABLE:
            raise InputError(
                f"{name} is larger than {LARGEST_TABLE // 1_000_000} MB: it is no table of targets"
            )
        document = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise InputError(f"{name} is no text in UTF-8: save the table as CSV in UTF-8") from None
    first = document.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(document, newline=""), delimiter=separator, strict=True)
    found: dict[str, Target] = {}
    columns: list[str] = []
    try:
        for cells in reader:
            if not columns:
                columns = [cell.strip().lower() for cell in cells]
                _check_columns(columns, name)
            elif any(cell.strip() for cell in cells):
                _add(found, columns, cells, f"{name}, line {reader.line_num}")
    except csv.Error as error:
        raise InputError(f"{name}, line {reader.line_num} is no CSV: {printable(str(error))}") from None
    if not found:
        raise InputError(
            f"{name} has no rows: give a line of column names, such as file,to, and one for each result"
        )
    return found


def _check_columns(columns: list[str], name: str) -> None:
    unknown = sorted(set(columns) - set(COLUMNS))
    if "file" not in columns or unknown or len(set(columns)) < len(columns):
        raise InputError(
            f"{name} has the columns {', '.join(map(shown, columns[:8]))}: the first line must name file, and any of "
            f"{', '.join(COLUMNS[1:])}"
        )


def _add(found: dict[str, Target], columns: list[str], cells: list[str], where: str) -> None:
    if len(cells) != len(columns):
        raise InputError(f"{where} has {len(cells)} cells, and there are {len(columns)} columns")
    values = {column: cell.strip() or None for column, cell in zip(columns, cells, strict=True)}
    file = values.get("file")
    if file is None:
        raise InputError(f"{where} names no file")
    if file in found:
        raise InputError(f"{where} names {shown(file)} for the second time")
    try:
        found[file] = Target(
            file, values.get("source"), values.get("to"), values.get("from"), values.get("class")
        )
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _listed(names: list[str], one: str, several: str) -> str | None:
    """ "3 sources have no result: a.png, b.png, c.png" """
    if not names:
        return None
    few = ", ".join(printable(name) for name in names[:5])
    rest = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{len(names)} {one if len(names) == 1 else several}: {few}{rest}"
