"""Score a row of a protocol: find the result of each request, measure it, and keep the figures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import InputError, in_words
from ...files.atomic import atomic_path
from ...files.checksum import sha256_of
from ...files.tables import to_csv
from ...images.io import READABLE
from ...schema import printable, shown
from ...shards import WHOLE, Shard
from ..rows import key_of
from .base import Benchmark, Item, means
from .entries import Entry, Store, pack

JSON, CSV = "benchmark.json", "benchmark.csv"
FORMAT = 1

Find = Callable[[Item], Path | None]
"""The result of a request; None if there is none."""


@dataclass(frozen=True)
class Scored:
    """A row: the figures of each request by its name, the requests that have no result, and what failed and why.

    `total` is the number of requests that were asked for. `notes` are about all of them.
    """

    row: str
    total: int
    entries: dict[str, Entry]
    missing: tuple[str, ...] = ()
    failures: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        return len(self.entries) == self.total


def score(
    benchmark: Benchmark,
    row: str,
    find: Find,
    folder: Path,
    shard: Shard = WHOLE,
    on_item: Callable[[int, str], None] = lambda done, name: None,
) -> Scored:
    """Measure the results of the requests in `shard`.

    Figures are written to `folder` as soon as they are known, and those that are there, of the same files and
    networks, are not measured again. A result that cannot be measured is named with the reason, and the others go on.
    """
    store = Store(folder, row, f"{shard.number}-of-{shard.of}" if shard.of > 1 else "")
    known = store.read()
    items = shard.part(benchmark.items)
    entries: dict[str, Entry] = {}
    missing, failures = [], {}
    sums: dict[Path, str] = {}
    for number, item in enumerate(items):
        on_item(number, item.name)
        path = find(item)
        if path is None:
            missing.append(item.name)
            continue
        try:
            key = _key(benchmark, item, path, sums)
            entry = known.get(key)
            if entry is None or entry.name != item.name:
                found = benchmark.measure(item, path)
                entry = Entry(found.values, key, item.name, pack(found.features), found.notes)
                store.add(entry)
            entries[item.name] = entry
        except Exception as error:  # one picture's trouble, memory for one, is not the next one's
            failures[item.name] = in_words(error)
    on_item(len(items), "")
    return Scored(row, len(items), entries, tuple(missing), failures, _notes(entries.values()))


def _key(benchmark: Benchmark, item: Item, result: Path, sums: dict[Path, str]) -> str:
    for path in (item.source, result):
        if path not in sums:
            sums[path] = sha256_of(path)
    return key_of(
        {"list": benchmark.fingerprint, "name": item.name, "title": benchmark.title}
        | {"source": sums[item.source], "result": sums[result]}
        | {"networks": sorted(benchmark.checksums.items())}
    )


def _notes(entries: Iterable[Entry]) -> tuple[str, ...]:
    counts: dict[str, int] = {}
    for entry in entries:
        for note in entry.notes:
            counts[note] = counts.get(note, 0) + 1
    return tuple(f"{count} times: {note}" if count > 1 else note for note, count in counts.items())


def results_in(folder: Path, items: Sequence[Item]) -> tuple[Find, tuple[str, ...]]:
    """Return what finds a method's results in `folder`, by the names of the requests, and notes on other files.

    Raise `InputError` if there is no result at all, or where two files may be the same result.
    """
    try:
        files = sorted(
            path for path in folder.rglob("*") if path.suffix.lower() in READABLE and path.is_file()
        )
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror or error}") from None
    found: dict[str, Path] = {}
    for path in files:
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise InputError(
                f"{printable(str(path))} and {printable(found[name].name)} may be the result of the same request: "
                "remove one of them"
            )
        found[name] = path
    names = {item.name for item in items}
    if not names & found.keys():
        example = f", such as {printable(files[0].name)}" if files else ""
        raise InputError(
            f"{folder} has no result of any of the {len(names)} requests: results are named like "
            f"{items[0].name}.png, and there are {len(files)} images{example}"
        )
    others = sorted(found[name].relative_to(folder).as_posix() for name in found.keys() - names)
    notes = []
    if others:
        few = ", ".join(map(printable, others[:3]))
        notes.append(
            f"{len(others)} {'image belongs' if len(others) == 1 else 'images belong'} to no request: {few}"
            f"{' and others' if len(others) > 3 else ''}"
        )
    return lambda item: found.get(item.name), tuple(notes)


def summary(benchmark: Benchmark, scored: Scored) -> dict[str, float]:
    """Return the figures of a row, over the requests that have them."""
    items = [item for item in benchmark.items if item.name in scored.entries]
    return benchmark.summarize(items, scored.entries) if items else {}


def by_group(benchmark: Benchmark, scored: Scored) -> dict[str, dict[str, float]]:
    """Return the means of each group that `benchmark` names."""
    found = {}
    for number, name in benchmark.groups.items():
        members = [
            item.name for item in benchmark.items if item.group == number and item.name in scored.entries
        ]
        if members:
            found[name] = means(scored.entries[member] for member in members)
    return found


def save(benchmark: Benchmark, rows: Sequence[Scored], folder: Path, versions: Mapping[str, str]) -> None:
    """Write the figures of all rows as JSON, and those of each result as CSV, each file whole or not at all."""
    report = {
        "format": FORMAT,
        "protocol": benchmark.title,
        "list_sha256": benchmark.fingerprint,
        "exact": benchmark.exact,
        "requests": len(benchmark.items),
        "rows": [
            {
                "name": row.row,
                "measured": len(row.entries),
                "complete": row.complete,
                "figures": summary(benchmark, row),
                "groups": by_group(benchmark, row),
                "missing": list(row.missing),
                "failures": dict(row.failures),
                "notes": list(row.notes),
            }
            for row in rows
        ],
        "published": {name: dict(values) for name, values in benchmark.published.items()},
        "networks": dict(benchmark.checksums),
        "versions": dict(versions),
        "notes": list(benchmark.notes),
    }
    texts = {JSON: json.dumps(report, indent=1, ensure_ascii=False) + "\n", CSV: _table(rows)}
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in texts.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_text(content, encoding="utf-8", errors="backslashreplace", newline="")


def _table(rows: Sequence[Scored]) -> str:
    keys = sorted({key for row in rows for entry in row.entries.values() for key in entry.values})
    return to_csv(
        ["row", "request", *keys],
        [
            [row.row, name, *map(entry.values.get, keys)]
            for row in rows
            for name, entry in row.entries.items()
        ],
    )


def check_folder(folder: Path, benchmark: Benchmark) -> None:
    """Raise `InputError` if `folder` holds the figures of another protocol or list, which would be overwritten."""
    try:
        known = json.loads((folder / JSON).read_text(encoding="utf-8"))
        protocol, fingerprint = known.get("protocol"), known.get("list_sha256")
    except (OSError, ValueError, AttributeError):
        return
    if protocol != benchmark.title or fingerprint != benchmark.fingerprint:
        raise InputError(
            f"{folder} holds the figures of {shown(protocol)} with another list: give another folder with -o"
        )
