"""A report of many results: figures, summaries, and the files that hold them."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files.atomic import atomic_path
from ..files.tables import to_csv
from .figures import Summary, figure_of, in_order, summarize
from .rows import Row

JSON, CSV, HTML = "report.json", "report.csv", "report.html"
FORMAT = 1


@dataclass(frozen=True)
class Report:
    """What is known about the results in one folder. `sets` are distances between all results and the style images."""

    results: str
    sources: str
    rows: tuple[Row, ...]
    networks: dict[str, str]
    sets: dict[str, float] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def keys(self) -> list[str]:
        """The figures that any row has, in order."""
        return in_order({key for row in self.rows for key in row.values})

    @property
    def summaries(self) -> list[Summary]:
        """Each figure over the rows that have it."""
        return [
            summarize(key, [row.values[key] for row in self.rows if key in row.values]) for key in self.keys
        ]

    @property
    def worst_first(self) -> list[Row]:
        """The rows by their worst rank in any headline figure, then by the mean of their ranks.

        So a copy of the source, which has the best structure, comes early for its text. A row that lacks a figure that
        others have, such as a shift, has the worst rank in it.
        """
        ranks: dict[str, list[float]] = {row.name: [] for row in self.rows}
        for key in self.keys:
            figure = figure_of(key)
            if figure.headline and figure.better is not None:
                sign = 1 if figure.better == "high" else -1
                found = _ranks({row.name: sign * row.values[key] for row in self.rows if key in row.values})
                for name, own in ranks.items():
                    own.append(found.get(name, 0.0))

        def badness(row: Row) -> tuple[float, float, str]:
            own = ranks[row.name]
            return min(own, default=0.0), sum(own), row.name

        return sorted(self.rows, key=badness)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "format": FORMAT,
            "results": self.results,
            "sources": self.sources,
            "networks": self.networks,
            "versions": self.versions,
            "summary": {
                each.key: {
                    "count": each.count,
                    "mean": each.mean,
                    "interval95": None if each.interval is None else list(each.interval),
                }
                for each in self.summaries
            },
            "sets": self.sets,
            "rows": [
                {
                    "result": row.name,
                    "source": row.source,
                    "to": row.to,
                    "from": row.from_,
                    "figures": {key: row.values.get(key) for key in self.keys},
                    "notes": list(row.notes),
                }
                for row in self.rows
            ],
            "failures": self.failures,
            "notes": list(self.notes),
        }

    def to_csv(self) -> str:
        """Return one line a picture, and a first one with the names of the columns."""
        rows = [
            [
                *(row.name, row.source, row.to or "", row.from_ or ""),
                *(row.values.get(key) for key in self.keys),
                "; ".join(row.notes),
            ]
            for row in self.rows
        ]
        return to_csv(["result", "source", "to", "from", *self.keys, "notes"], rows)


def check_folder(folder: Path, results: str) -> None:
    """Raise `InputError` if `folder` holds the report of other results, which would be overwritten."""
    path = folder / JSON
    try:
        known = json.loads(path.read_text(encoding="utf-8")).get("results")
    except (OSError, ValueError, AttributeError):
        return
    if known != results:
        raise InputError(f"{folder} holds the report of {known}: give another folder with -o")


def save(report: Report, folder: Path, page: str) -> None:
    """Write all three files, each whole or not at all."""
    texts = {
        JSON: json.dumps(report.to_json(), indent=1, ensure_ascii=False) + "\n",
        CSV: report.to_csv(),
        HTML: page,
    }
    for name, content in texts.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_text(content, encoding="utf-8", errors="backslashreplace", newline="")


def _ranks(values: dict[str, float]) -> dict[str, float]:
    """The share, 0 to 1, of the values that are worse (lower); equal values share the mean of theirs."""
    ordered = sorted(values.values())
    first: dict[float, int] = {}
    last: dict[float, int] = {}
    for place, value in enumerate(ordered):
        first.setdefault(value, place)
        last[value] = place
    return {name: (first[value] + last[value] + 1) / (2 * len(ordered)) for name, value in values.items()}
